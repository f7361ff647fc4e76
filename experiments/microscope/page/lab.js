// The state of the page, and what follows from it: a model reads a text, with its gates as the
// reader has turned them.
"use strict";
const Lab = (() => {
  const {$} = View, COUNT = 128;
  const subject = JSON.parse($("subject").textContent), tokenize = Tokenize.make(subject.tokens);
  const loaded = new Map(), measuredBase = new Map();
  const state = {
    subject, task: Horizon.load(subject.generator), count: COUNT, places: {}, part: "both",
    measured: {base: null, now: null}, step: 0, unit: 0, isPinned: false, isByTime: true,
    isSpread: false, known: null, layer: 0, direction: 0, clamps: {}, scale: 1, reset: -1,
    isAllUnits: true, clampedUnit: 0, isUnitChosen: false, fresh: 1, select: () => {},
  };
  if (subject.tokens.kind === "numbers") Object.assign(Texts, {one: "step", many: "steps"});
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
    // text is read by itself. Of texts with more than 77 words only some beginnings are.
    const every = Math.ceil(state.tokens.length ** 2 / 6000);
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
    const dOut = Engine.cotangent(last, state.target);
    figures.back = Engine.gradients(model, figures.trace, dOut, change);
    return figures.back;
  }

  function readText() {
    const all = tokenize($("text").value), entries = all.slice(0, subject.max_words);
    const read = entries.filter((entry) => entry.token !== null);
    const unknown = [...new Set(entries.filter((e) => !e.isKnown).map((e) => e.text))];
    const notes = [];
    if (!read.length) notes.push("The model reads no word of this; the last text stays.");
    if (unknown.length) {
      const how = subject.tokens.kind === "ngrams" ? "read by their letters" : "not read";
      notes.push(`Not in the vocabulary, ${how}: ${unknown.slice(0, 8).join(", ")}` +
        (unknown.length > 8 ? ` and ${unknown.length - 8} more.` : "."));
    }
    if (all.length > entries.length) {
      notes.push(`Only the first ${subject.max_words} words are read.`);
    }
    $("reading-note").textContent = notes.join(" ");
    if (!read.length) return false;
    state.entries = entries;
    state.words = read.map((entry) => entry.text);
    state.tokens = read.map((entry) => entry.token);
    return true;
  }

  function recompute() {
    const {model} = state, T = state.tokens.length, UNTOUCHED = Engine.UNTOUCHED;
    state.step = Math.min(state.step, T - 1);
    state.reset = Math.min(state.reset, T - 1);
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
    const stepsOf = (figures) => figures.trace.layers[layer][direction];
    state.base.keep = Engine.keeps(state.cell, stepsOf(state.base));
    state.steps = stepsOf(state.now);
    state.keep = Engine.keeps(state.cell, state.steps, change.scale);
    state.order = [...state.keep.keys()];
    // Sorted as trained, so that the rows stay where they are while a gate is turned.
    if (state.isByTime) state.order.sort((a, b) => state.base.keep[b] - state.base.keep[a]);
    const keeper = Texts.keeper[Texts.family(state.cell.kind)];
    state.predictedShare = state.isAllUnits && keeper in state.clamps ? state.clamps[keeper] : null;
    View.strip(state);
    const units = View.reading(state);
    // The page opens with the unit that matters most to the answer.
    if (!state.isUnitChosen && units.length) [state.unit] = units;
    state.isUnitChosen = true;
    showFlag();
    showReset();
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
      const {distances} = subject, show = (found) => {
        state.measured[key] = found;
        View.horizon(state);
        View.effect(state);
        if (found.count === COUNT) done(found);
      };
      stopMeasuring = Horizon.measure(model, state.task, distances, change, COUNT, show);
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
    $("strip").setAttribute("aria-activedescendant", `word-${state.step}`);
    $("unit").value = state.unit;
    const j = state.unit, summary = `unit ${j} at word ${state.step + 1}`;
    for (const id of ["by-word", "unit-chart", "gradient", "gradient-again", "horizon"]) {
      const caption = $(id).parentElement.querySelector("figcaption");
      $(id).setAttribute("aria-label", `Chart. ${caption ? caption.textContent : ""} ${summary}.`);
    }
  }

  function showFlag() {
    const parts = Object.entries(state.clamps).map(([gate, value]) =>
      `${gate} held at ${value.toFixed(2)} in ${state.isAllUnits ? "all units"
        : `unit ${state.clampedUnit}`}`);
    if (state.scale !== 1) parts.push(`recurrent matrix \u00d7 ${state.scale.toFixed(2)}`);
    if (state.reset >= 0) parts.push(`memory emptied before ${View.quoted(state, state.reset)}`);
    $("flag").hidden = !parts.length;
    $("flag-text").textContent = `Turned: ${parts.join("; ")}.`;
  }

  function showReset() {
    const slider = $("reset"), T = state.words.length;
    slider.max = T - 1;
    if (state.reset < 0 && Number(slider.value) === 0) slider.value = T >> 1;
    const place = Math.min(Number(slider.value), T - 1);
    $("reset-word").textContent = `${View.quoted(state, place)}, ${Texts.one} ${place + 1}`;
    $("reset-out").textContent = state.reset < 0 ? "never" : String(place + 1);
  }

  return {draw, modelOf, readText, recompute, state, turn};
})();
