// The page's state and controls: a model reads a text, and the reader turns its gates.
"use strict";
(() => {
  const {$, make} = View, COUNT = 64;
  const subject = JSON.parse($("subject").textContent), tokenize = Tokenize.make(subject.tokens);
  const loaded = new Map(), measuredBase = new Map();
  const state = {
    subject, task: Horizon.load(subject.generator), count: COUNT, places: {}, part: "both",
    measured: {base: null, now: null}, step: 0, unit: 0, isPinned: false, isByTime: true, known: null,
    layer: 0, direction: 0, clamps: {}, scale: 1, reset: -1, isAllUnits: true, fresh: 1,
  };
  let stopMeasuring = () => {}, waiting = 0, frame = 0;

  function modelOf(number) {
    if (!loaded.has(number)) loaded.set(number, Engine.loadModel(subject.models[number]));
    return loaded.get(number);
  }

  // ---- from text to figures ---------------------------------------------------------------

  function changeOf() {
    const clamps = {};
    state.model.layers.forEach((cells, layer) => cells.forEach((cell, direction) => {
      const isShown = layer === state.layer && direction === state.direction;
      if (!state.isAllUnits && !isShown) return;
      const held = {};
      for (const [gate, value] of Object.entries(state.clamps)) {
        held[gate] = new Float64Array(cell.H).fill(state.isAllUnits ? value : NaN);
        if (!state.isAllUnits) held[gate][state.clampedUnit] = value;
      }
      clamps[`${layer}.${direction}`] = held;
    }));
    return {scale: state.scale, reset: state.reset, clamps};
  }

  function outputsOf(model, trace, change) {
    if (!Engine.isBidirectional(model)) return Engine.outputsByWord(model, trace);
    // What stands behind a word changes what a backward cell makes of it: every beginning of the
    // text is read by itself. Of long texts only some beginnings are.
    const every = Math.ceil(state.tokens.length / 80);
    let last = null;
    return state.tokens.map((_, t) => {
      const n = t + 1;
      if (last && n % every && n < state.tokens.length) return last;
      const part = Engine.run(model, state.tokens.slice(0, n), change);
      last = Engine.outputsByWord(model, part)[t];
      return last;
    });
  }

  function figuresOf(model, change) {
    const trace = Engine.run(model, state.tokens, change);
    const outputs = outputsOf(model, trace, change);
    const probabilities = subject.classes.length ? outputs.map(Engine.softmax) : null;
    return {trace, outputs, probabilities};
  }

  function backOf(model, figures, change) {
    const last = figures.outputs[figures.outputs.length - 1];
    figures.back = Engine.gradients(model, figures.trace, Engine.cotangent(last, state.target), change);
    return figures.back;
  }

  function readText() {
    const all = tokenize($("text").value), entries = all.slice(0, subject.max_words);
    const read = entries.filter((entry) => entry.token !== null);
    const unknown = [...new Set(entries.filter((e) => !e.isKnown).map((e) => e.text))];
    const notes = [];
    if (!read.length) notes.push("There is no word here that the model reads; the last text stays.");
    if (unknown.length) {
      const how = subject.tokens.kind === "ngrams" ? "read by their letters" : "not read";
      notes.push(`Not in the vocabulary, ${how}: ${unknown.slice(0, 8).join(", ")}` +
        (unknown.length > 8 ? ` and ${unknown.length - 8} more.` : "."));
    }
    if (all.length > entries.length) notes.push(`Only the first ${subject.max_words} words are read.`);
    $("reading-note").textContent = notes.join(" ");
    if (!read.length) return false;
    Object.assign(state, {entries, words: read.map((e) => e.text), tokens: read.map((e) => e.token)});
    return true;
  }

  function recompute() {
    const {model} = state, T = state.tokens.length, UNTOUCHED = Engine.UNTOUCHED;
    state.step = Math.min(state.step, T - 1);
    state.reset = Math.min(state.reset, T - 1);
    state.isTurned = Object.keys(state.clamps).length > 0 || state.scale !== 1 || state.reset >= 0;
    state.base = figuresOf(model, UNTOUCHED);
    const right = subject.classes.indexOf(state.known), last = state.base.probabilities;
    state.target = !subject.classes.length ? 0 : right >= 0 ? right
      : last[T - 1].indexOf(Math.max(...last[T - 1]));
    backOf(model, state.base, UNTOUCHED);
    state.others = otherModels().map((other) => {
      const figures = figuresOf(other, UNTOUCHED);
      return {model: other, back: backOf(other, figures, UNTOUCHED)};
    });
    turn();
  }

  // What changes with the controls alone.
  function turn() {
    const {model, layer, direction} = state, change = state.change = changeOf();
    state.isTurned = Object.keys(state.clamps).length > 0 || state.scale !== 1 || state.reset >= 0;
    state.now = state.base;
    if (state.isTurned) {
      state.now = figuresOf(model, change);
      backOf(model, state.now, change);
    }
    state.cell = model.layers[layer][direction];
    const keepOf = (one, scale) => Engine.keeps(state.cell, one.trace.layers[layer][direction], scale);
    state.base.keep = keepOf(state.base, 1);
    state.keep = keepOf(state.now, change.scale);
    state.steps = state.now.trace.layers[layer][direction];
    state.order = [...state.keep.keys()];
    // Sorted as trained, so that the rows stay where they are while a gate is turned.
    if (state.isByTime) state.order.sort((a, b) => state.base.keep[b] - state.base.keep[a]);
    const keeper = Texts.keeper[Texts.family(state.cell.kind)];
    state.predictedShare = state.isAllUnits && keeper in state.clamps ? state.clamps[keeper] : null;
    View.strip(state);
    View.reading(state, (patch) => { select(patch); $("maps").scrollIntoView({block: "center"}); });
    showFlag();
    draw();
    measureSoon();
  }

  // One other model of each cell that was trained at the same distance.
  function otherModels() {
    const chosen = subject.models[state.number], cells = new Set([chosen.cell]), found = [];
    subject.models.forEach((model, number) => {
      if (model.distance !== chosen.distance || cells.has(model.cell)) return;
      cells.add(model.cell);
      found.push(modelOf(number));
    });
    return found;
  }

  // ---- the horizon ------------------------------------------------------------------------

  function measureSoon() {
    stopMeasuring();
    clearTimeout(waiting);
    state.measured = {base: measuredBase.get(state.number) || null, now: null};
    if (state.task && state.isMeasurable) waiting = setTimeout(measure, 200);
  }

  function measure() {
    const {model, number} = state;
    const run = (change, key, done) => {
      stopMeasuring = Horizon.measure(model, state.task, subject.distances, change, COUNT, (found) => {
        state.measured[key] = found;
        View.horizon(state);
        View.effect(state);
        if (found.count === COUNT) done(found);
      });
    };
    // The reset stands at one word of one sentence; fresh sentences do not have it.
    const turned = () => {
      if (state.isTurned) run({...state.change, reset: -1}, "now", () => {});
    };
    if (state.measured.base) turned();
    else run(Engine.UNTOUCHED, "base", (found) => { measuredBase.set(number, found); turned(); });
  }

  // ---- drawing ----------------------------------------------------------------------------

  function draw() {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(drawNow);
  }

  function drawNow() {
    View.byWord(state);
    View.maps(state);
    drawSelection();
    View.effect(state);
    if (state.task && state.isMeasurable) View.horizon(state);
  }

  function drawSelection() {
    View.answer(state);
    View.unit(state);
    state.places.gradient = View.gradient(state, $("gradient"));
    state.places.again = View.gradient(state, $("gradient-again"));
    for (const span of $("strip").children) {
      span.setAttribute("aria-selected", span.dataset.step === String(state.step));
    }
    $("unit").value = state.unit;
    $("reset").textContent = state.reset < 0
      ? `Empty the memory before ${View.quoted(state, state.step)}, word ${state.step + 1}`
      : `Do not empty the memory before ${View.quoted(state, state.reset)}`;
    const j = state.unit, summary = `unit ${j} at word ${state.step + 1}`;
    for (const id of ["by-word", "unit-chart", "gradient", "gradient-again", "horizon"]) {
      const caption = $(id).parentElement.querySelector("figcaption");
      $(id).setAttribute("aria-label", `Chart. ${caption ? caption.textContent : ""} ${summary}.`);
    }
  }

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

  // ---- controls ---------------------------------------------------------------------------

  function showFlag() {
    const parts = Object.entries(state.clamps).map(([gate, value]) =>
      `${gate} held at ${value.toFixed(2)} in ${state.isAllUnits ? "all units"
        : `unit ${state.clampedUnit}`}`);
    if (state.scale !== 1) parts.push(`recurrent matrix \u00d7 ${state.scale.toFixed(2)}`);
    if (state.reset >= 0) parts.push(`memory emptied before ${View.quoted(state, state.reset)}`);
    $("flag").hidden = !parts.length;
    $("flag-text").textContent = `Turned: ${parts.join("; ")}.`;
  }

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
    $("unit").max = cell.H - 1;
    $("cell-words").textContent = Texts.explained[family];
    $("equations").textContent = Texts.equations[cell.kind];
    View.makeMaps(state);
    for (const canvas of $("maps").querySelectorAll("canvas")) {
      pointable(canvas, (x, y) => state.places[canvas.dataset.gate](x, y));
    }
    makeControls();
  }

  function useText(text, known) {
    $("text").value = text;
    state.known = known;
    if (!readText()) return;
    state.step = state.words.length - 1;
    recompute();
  }

  function freshSentence() {
    const distance = Number($("distance").value), random = Horizon.randomOf(state.fresh++);
    const {text, answer} = Horizon.sentence(subject, state.task, distance, random);
    $("sentences").value = "own";
    useText(text, answer);
  }

  function fixedTexts() {
    document.title = `${subject.title} \u2013 seqmodels microscope`;
    $("title").textContent = subject.title;
    const kinds = [...new Set(subject.models.map((model) => Texts.cells[model.cell]))];
    $("lede").textContent = `A trained ${kinds.join(" and a trained ")} ${kinds.length > 1 ? "run"
      : "runs"} inside this page. Type a sentence and see the answer grow word by word. Look at every ` +
      "gate while the sentence is read, and at how far back the gradient reaches. Then hold a gate " +
      "still, and see what the model no longer remembers.";
    const isNumbers = subject.tokens.kind === "numbers";
    $("typing").textContent = isNumbers
      ? "Type numbers between 0 and 1; a * marks those to be added." : "Type your own sentence.";
    $("gradient-words").textContent = "Training can only teach a model what its gradient reaches. " +
      "The curves show how strongly the answer at the last word depends on the state at each " +
      "earlier word. A straight fall on this logarithmic scale means that every word takes away " +
      "the same share.";
    $("gradient-note").textContent = subject.classes.length
      ? "Gradient of the log-probability of the answer with respect to h and c after each word."
      : "Gradient of the answer with respect to h and c after each word.";
    $("reach-words").textContent = "Hold a gate of all units, or of one, at a fixed value; weaken the " +
      "recurrent matrix; empty the memory in the middle of the sentence. A unit that keeps the " +
      "share f of its memory a word has a time constant of \u22121/ln f words: 9.5 words for f = " +
      "0.9, 99.5 words for f = 0.99.";
    const places = {f4: "", f2: " Embeddings are stored in 16 bits.",
      i1: " Embeddings are stored in 8 bits."};
    $("footer").textContent = subject.models.map((model) => `${model.name}: seed ${model.seed}` +
      (model.accuracy === null ? "" : `, test accuracy ${model.accuracy.toFixed(3)}`)).join("; ") +
      `.${places[subject.precision]} ${subject.command ? `Made by: ${subject.command}` : ""}`;
  }

  function start() {
    fixedTexts();
    $("model").replaceChildren(...subject.models.map((model, k) =>
      make("option", {value: k}, model.name)));
    $("sentences").replaceChildren(...subject.sentences.map(({text}, k) => make("option", {value: k},
      text.length > 60 ? `${text.slice(0, 57)}\u2026` : text)),
    make("option", {value: "own"}, "your own"));
    $("model").addEventListener("change", () => { useModel(Number($("model").value)); recompute(); });
    $("sentences").addEventListener("change", () => {
      const chosen = subject.sentences[Number($("sentences").value)];
      if (chosen) useText(chosen.text, chosen.answer);
    });
    let typed = 0;
    $("text").addEventListener("input", () => {
      clearTimeout(typed);
      $("sentences").value = "own";
      typed = setTimeout(() => {
        state.known = null;
        if (!readText()) return;
        state.step = state.words.length - 1;
        recompute();
      }, 120);
    });
    if (state.task) {
      const {distances} = subject, trained = subject.models[0].distance;
      $("fresh").hidden = false;
      $("fresh-label").textContent = state.task.kind === "sky" ? "words between clue and question"
        : "length";
      $("distance").max = distances[distances.length - 1];
      $("distance").min = state.task.kind === "sky" ? 0 : 2;
      $("distance").value = trained === null ? distances[distances.length >> 1] : trained;
      $("distance").addEventListener("input", () => {
        $("distance-out").textContent = $("distance").value;
      });
      $("distance-out").textContent = $("distance").value;
      $("new").addEventListener("click", freshSentence);
    }
    $("strip").addEventListener("pointermove", (event) => {
      const step = event.target.dataset.step;
      if (step !== undefined && !state.isPinned) select({step: Number(step)});
    });
    $("strip").addEventListener("click", (event) => {
      const step = event.target.dataset.step;
      if (step === undefined) return;
      state.isPinned = !(select({step: Number(step)}) && state.isPinned);
      draw();
    });
    $("strip").addEventListener("keydown", byKeys);
    pointable($("by-word"), (x) => ({step: Math.round(state.places.byWord(x))}));
    pointable($("unit-chart"), (x) => ({step: Math.round(state.places.unit(x))}));
    for (const [id, place] of [["gradient", "gradient"], ["gradient-again", "again"]]) {
      pointable($(id), (x) => ({step: state.words.length - 1 - Math.round(state.places[place](x))}));
    }
    $("order").addEventListener("change", () => {
      state.isByTime = $("order").value === "time";
      turn();
    });
    $("layer").addEventListener("change", () => {
      [state.layer, state.direction] = $("layer").value.split(".").map(Number);
      state.clamps = {};
      useCell();
      turn();
    });
    for (const radio of document.querySelectorAll("input[name=part]")) {
      radio.addEventListener("change", () => { state.part = radio.value; draw(); });
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
    $("reset").addEventListener("click", () => {
      state.reset = state.reset < 0 ? state.step : -1;
      turn();
    });
    for (const button of document.querySelectorAll(".undo")) {
      button.addEventListener("click", () => setControls({}));
    }
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth !== width) draw();
      width = window.innerWidth;
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    useModel(0);
    useText(subject.sentences[0].text, subject.sentences[0].answer);
    document.documentElement.dataset.ready = Math.round(performance.now());
  }

  start();
})();
