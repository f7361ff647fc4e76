// Pointing at words and units, and the controls that turn gates.
"use strict";
const Controls = (() => {
  const {$, make} = View, {draw, modelOf, recompute, state, turn} = Lab;

  function select({step = state.step, unit = state.unit}) {
    const isSame = step === state.step && unit === state.unit;
    state.step = Math.min(Math.max(step, 0), state.words.length - 1);
    state.unit = Math.min(Math.max(unit, 0), state.cell.H - 1);
    if (!isSame) draw();
    return isSame;
  }

  // Pointing with mouse, touch or arrow keys; place(x, y) returns what to select.
  function pointable(canvas, place) {
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return place(event.clientX - box.left, event.clientY - box.top);
    };
    canvas.addEventListener("pointermove", (event) => {
      if (!state.isPinned || event.pointerType !== "mouse" || event.buttons) select(at(event));
    });
    canvas.addEventListener("pointerdown", (event) => {
      const isSame = select(at(event));
      if (event.pointerType === "mouse") state.isPinned = !(isSame && state.isPinned);
      draw();
    });
    canvas.addEventListener("keydown", byKeys);
  }

  function byKeys(event) {
    const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const step = {Home: 0, End: state.words.length - 1}[event.key];
    if (step !== undefined) select({step});
    else if (event.key in move) {
      const [dt, rows] = move[event.key], row = state.order.indexOf(state.unit) + rows;
      const last = state.order.length - 1;
      const unit = state.order[Math.min(Math.max(row, 0), last)];
      select({step: state.step + dt, unit});
    } else return;
    state.isPinned = true;
    event.preventDefault();
  }

  function pointableStrip() {
    const stepOf = (event) => Number(event.target.dataset.step ?? NaN);
    $("strip").addEventListener("pointermove", (event) => {
      if (stepOf(event) >= 0 && !state.isPinned) select({step: stepOf(event)});
    });
    $("strip").addEventListener("click", (event) => {
      if (!(stepOf(event) >= 0)) return;
      state.isPinned = !(select({step: stepOf(event)}) && state.isPinned);
      draw();
    });
    $("strip").addEventListener("keydown", byKeys);
  }

  // Charts with words along the axis, and the gradient with distances.
  function pointableCharts() {
    const {places} = state, last = () => state.words.length - 1;
    pointable($("by-word"), (x) => ({step: Math.round(places.byWord(x))}));
    pointable($("unit-chart"), (x) => ({step: Math.round(places.unit(x))}));
    pointable($("gradient"), (x) => ({step: last() - Math.round(places.gradient(x))}));
    pointable($("gradient-again"), (x) => ({step: last() - Math.round(places.again(x))}));
  }

  // ---- controls ---------------------------------------------------------------------------

  // What the controls are set to: all of them at once, or back to the trained model.
  function setControls({clamps = {}, scale = 1, reset = -1}) {
    Object.assign(state, {clamps, scale, reset, clampedUnit: state.unit});
    showControls();
    turn();
  }

  function showControls() {
    for (const row of $("clamps").children) {
      const gate = row.dataset.gate, isOn = gate in state.clamps;
      const [box, slider] = row.querySelectorAll("input");
      box.checked = isOn;
      if (isOn) slider.value = state.clamps[gate];
      row.querySelector("output").textContent = isOn ? state.clamps[gate].toFixed(2) : "free";
    }
    $("hold-reset").checked = state.reset >= 0;
    $("scale").value = state.scale;
    $("scale-out").textContent = state.scale.toFixed(2);
  }

  function makeControls() {
    const family = Texts.family(state.cell.kind);
    $("clamps").replaceChildren(...Texts.turned[family].map((gate) => {
      const name = Texts.maps[family].find((row) => row[0] === gate)[2];
      const box = make("input", {type: "checkbox", id: `hold-${gate}`});
      const slider = make("input", {
        type: "range", min: 0, max: 1, step: 0.01, value: 0.9, id: `clamp-${gate}`,
        "aria-label": `Value of the ${name}`,
      });
      const update = () => {
        if (box.checked) state.clamps[gate] = Number(slider.value);
        else delete state.clamps[gate];
        state.clampedUnit = state.unit;
        showControls();
        turn();
      };
      box.addEventListener("change", update);
      slider.addEventListener("input", () => { box.checked = true; update(); });
      return make("div", {class: "slider", "data-gate": gate},
        make("label", {}, box, ` hold the ${name} ${gate} at`), slider, make("output", {}, "free"));
    }));
    $("try").replaceChildren("Try:", ...Texts.attempts[family].map(([name, {scale, ...clamps}]) =>
      make("button", {type: "button", onclick: () => {
        state.isAllUnits = true;
        document.querySelector("input[name=scope][value=all]").checked = true;
        setControls({clamps, scale});
      }}, name)));
    showControls();
  }

  function useModel(number) {
    state.number = number;
    const model = state.model = modelOf(number);
    const keys = model.layers.flatMap((cells, layer) => cells.map((_, d) => [layer, d]));
    Object.assign(state, {layer: 0, direction: 0, clamps: {}, scale: 1, reset: -1});
    state.isMeasurable = state.task !== null && !Engine.isBidirectional(model);
    $("horizon").parentElement.hidden = !state.isMeasurable;
    $("layer-label").hidden = keys.length < 2;
    $("layer").replaceChildren(...keys.map(([layer, d]) => make("option", {value: `${layer}.${d}`},
      `layer ${layer + 1}, ${model.layers[layer].length < 2 ? "one direction"
        : d ? "from the end" : "from the start"}`)));
    $("part-c").hidden = !model.layers.flat().some((cell) => cell.kind === "lstm");
    useCell();
  }

  function useCell() {
    const cell = state.cell = state.model.layers[state.layer][state.direction];
    const family = Texts.family(cell.kind);
    state.unit = Math.min(state.unit, cell.H - 1);
    state.isUnitChosen = false;
    $("unit").max = cell.H - 1;
    $("cell-words").textContent = Texts.explained[family];
    $("equations").textContent = Texts.equations[cell.kind];
    $("spread-label").hidden = !cell.gates.length;
    for (const scale of document.querySelectorAll(".scale")) {
      scale.hidden = !cell.gates.length && scale.querySelector(".gate-scale") !== null;
    }
    View.makeMaps(state);
    for (const canvas of $("maps").querySelectorAll("canvas")) {
      pointable(canvas, (x, y) => state.places[canvas.dataset.gate](x, y));
    }
    makeControls();
  }

  // Connects the controls that stay the same for all models.
  function connect() {
    state.select = select;
    pointableStrip();
    pointableCharts();
    $("order").addEventListener("change", () => {
      state.isByTime = $("order").value === "time";
      turn();
    });
    $("spread").addEventListener("change", () => {
      state.isSpread = $("spread").checked;
      draw();
    });
    $("layer").addEventListener("change", () => {
      [state.layer, state.direction] = $("layer").value.split(".").map(Number);
      state.clamps = {};
      useCell();
      turn();
    });
    for (const radio of document.querySelectorAll("input[name=part]")) {
      radio.addEventListener("change", () => {
        state.part = radio.value;
        draw();
      });
    }
    for (const radio of document.querySelectorAll("input[name=scope]")) {
      radio.addEventListener("change", () => {
        state.isAllUnits = radio.value === "all";
        state.clampedUnit = state.unit;
        turn();
      });
    }
    $("unit").addEventListener("input", () => {
      select({unit: Number($("unit").value)});
      state.clampedUnit = state.unit;
      if (!state.isAllUnits) turn();
    });
    $("scale").addEventListener("input", () => {
      state.scale = Number($("scale").value);
      showControls();
      turn();
    });
    const reset = () => {
      state.reset = $("hold-reset").checked ? Number($("reset").value) : -1;
      showControls();
      turn();
    };
    $("hold-reset").addEventListener("change", reset);
    $("reset").addEventListener("input", () => {
      $("hold-reset").checked = true;
      reset();
    });
    for (const button of document.querySelectorAll(".undo")) {
      button.addEventListener("click", () => setControls({}));
    }
  }

  return {connect, useModel};
})();
