// What the page draws of a state: the answer, heat maps, gradients, horizon, and readings.
"use strict";
const View = (() => {
  const $ = (id) => document.getElementById(id);
  const PALETTE = ["--lstm", "--rnn", "--gru", "--bilstm", "--line-i", "--line-f", "--muted"];

  // A new element with attributes and children; texts become text nodes.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const NO_COLORS = ["inherit", "initial", "unset", "revert", "transparent", "currentcolor"];
  const isColor = (name) => /^[a-z]+$/i.test(name) && CSS.supports("color", name) &&
    !NO_COLORS.includes(name.toLowerCase());

  // The color of class k: its own where all classes are names of colors.
  function classColor(subject, k) {
    return subject.classes.every(isColor) ? subject.classes[k] : PALETTE[k % PALETTE.length];
  }

  const painted = (color) => color.startsWith("--") ? `var(${color})` : color;
  const quoted = (state, step) => `\u201c${state.words[step]}\u201d`;
  const words = (n) => !(n < 1e4) ? "no limit seen"
    : `${n < 10 ? n.toFixed(1) : Math.round(n)} ${Texts.many}`;

  function strip(state) {
    const p = state.now.probabilities, color = painted(Texts.colors[state.model.cell]);
    let step = -1;
    const spans = state.entries.map((entry) => {
      const isRead = entry.token !== null;
      if (isRead) step++;
      const share = isRead && p ? Math.round(100 * p[step][state.target]) : 0;
      const span = make("span", {
        role: "option", class: !isRead ? "unread" : entry.isKnown ? null : "unknown",
        "data-step": isRead ? step : null, id: isRead ? `word-${step}` : null,
        title: entry.isKnown ? null : isRead ? "not in the vocabulary: read by its letters"
          : "not in the vocabulary: not read",
      }, entry.text);
      span.style.borderBottomColor = `color-mix(in srgb, ${color} ${share}%, transparent)`;
      return span;
    });
    $("strip").replaceChildren(...spans);
  }

  function answer(state) {
    const {subject, step, words: read} = state, box = $("answer");
    $("answer-head").textContent =
      `After ${quoted(state, step)}, ${Texts.one} ${step + 1} of ${read.length}`;
    if (!subject.classes.length) {
      const value = state.now.outputs[step][0] + subject.centre;
      box.replaceChildren(make("span", {}, "answer"), make("span"),
        make("span", {class: "number top"}, value.toFixed(3)),
        ...(state.known === null ? [] : [make("span", {}, "right answer"), make("span"),
          make("span", {class: "number"}, state.known)]));
      return;
    }
    const p = state.now.probabilities[step], top = p.indexOf(Math.max(...p));
    box.replaceChildren(...subject.classes.flatMap((name, k) => {
      const fill = make("i");
      fill.style.width = `${100 * p[k]}%`;
      fill.style.background = painted(classColor(subject, k));
      const known = name === state.known ? " (right)" : "";
      return [make("span", {class: k === top ? "top" : null}, name + known),
        make("span", {class: "meter"}, fill),
        make("span", {class: `number${k === top ? " top" : ""}`}, Reading.short(p[k]))];
    }));
  }

  function byWord(state) {
    const {subject, now} = state, T = state.words.length, isClasses = subject.classes.length > 0;
    const rows = isClasses ? now.probabilities.map((row) => [...row])
      : now.outputs.map((row) => [row[0] + subject.centre]);
    const series = rows[0].map((_, k) => ({
      points: rows.map((row, t) => [t, row[k]]), width: k === state.target ? 3 : 1.6,
      color: isClasses ? classColor(subject, k) : Texts.colors[state.model.cell],
      label: isClasses && (rows[T - 1][k] > 0.2 || k === state.target) ? subject.classes[k] : "",
    }));
    const all = rows.flat(), low = isClasses ? 0 : Math.min(0, ...all);
    const high = isClasses ? 1 : Math.max(1, ...all);
    $("by-word-caption").textContent = isClasses
      ? "The probability of every answer after each word." : "The answer after each step.";
    state.places.byWord = Charts.lineChart($("by-word"), {
      height: 240, series, words: state.words, cursor: state.step,
      x: {min: 0, max: Math.max(T - 1, 1), label: Texts.one},
      y: {min: low, max: high, label: isClasses ? "probability" : "answer",
        ticks: Charts.linear(low, high, 4)},
    });
  }

  // One figure for each gate or state of the cell; made when the cell changes.
  function makeMaps(state) {
    const rows = Texts.maps[Texts.family(state.cell.kind)];
    $("maps").replaceChildren(...rows.map(([gate, , name, meaning]) => make("figure", {},
      make("figcaption", {}, make("b", {}, gate), ` ${name}: ${meaning}`, make("span")),
      make("canvas", {
        tabindex: "0", role: "img", "data-gate": gate,
        "aria-label": `Heat map of the ${name} of every unit at every word; arrow keys move.`,
      }))));
  }

  function maps(state) {
    const rows = Texts.maps[Texts.family(state.cell.kind)], canvases = [...$("maps").children];
    const {keep, order} = state, tau = (j) => {
      const time = Engine.timeConstant(keep[j]);
      return time >= 1000 ? ">1000" : time < 10 ? time.toFixed(1) : String(Math.round(time));
    };
    const first = order[0], last = order[order.length - 1];
    const ends = state.isByTime ? [`\u03c4 ${tau(first)}`, `\u03c4 ${tau(last)}`]
      : [String(first), String(last)];
    rows.forEach(([gate, kind], k) => {
      const largest = Math.max(...state.steps.map((s) => s[gate].reduce(
        (m, v) => Math.max(m, Math.abs(v)), 0)));
      if (kind === "state") {
        const limit = Math.max(largest, 1).toFixed(1);
        canvases[k].querySelector("span").textContent = ` (colors from \u2212${limit} to ${limit})`;
      }
      state.places[gate] = Charts.heatMap(canvases[k].querySelector("canvas"), {
        steps: state.steps, gate, order, kind, ends,
        limit: Math.max(largest, 1), isSpread: state.isSpread,
        words: k === rows.length - 1 ? state.words : null,
        selection: {step: state.step, unit: state.unit},
      });
    });
  }

  function unit(state) {
    const {steps, unit: j, step, cell, keep} = state, family = Texts.family(cell.kind);
    const rows = Texts.maps[family], T = steps.length, figures = steps[step];
    const color = {f: "--line-f", z: "--line-f", i: "--line-i", r: "--line-i", o: "--line-o",
      g: "--line-g", n: "--line-g", c: "--ink", h: family === "lstm" ? "--lstm" : "--ink"};
    const series = rows.map(([gate, kind]) => ({
      points: steps.map((s, t) => [t, s[gate][j]]), color: color[gate], label: gate,
      width: gate === "c" || family !== "lstm" && gate === "h" ? 3 : 1.6,
      dash: kind === "gate" ? [] : gate === "g" || gate === "n" ? [2, 3] : [],
    }));
    const all = series.flatMap((line) => line.points.map(([, v]) => v));
    const low = Math.min(-1, ...all), high = Math.max(1, ...all);
    $("unit-caption").textContent = `Unit ${j} alone, at every ${Texts.one}.`;
    state.places.unit = Charts.lineChart($("unit-chart"), {
      height: 250, series, words: state.words, cursor: step,
      x: {min: 0, max: Math.max(T - 1, 1), label: Texts.one},
      y: {min: low, max: high, label: "value", ticks: Charts.linear(low, high, 4)},
    });
    const time = Engine.timeConstant(keep[j]);
    $("figures").replaceChildren(
      make("span", {}, make("b", {}, quoted(state, step)), ` ${Texts.one} ${step + 1}`),
      make("span", {}, make("b", {}, `unit ${j}`)),
      ...rows.map(([gate]) => make("span", {}, `${gate} ${Reading.two(figures[gate][j])}`)),
      make("span", {}, `keeps ${keep[j] > 0.995 ? keep[j].toFixed(4) : Reading.two(keep[j])} a ` +
        `${Texts.one}, time constant ${words(time)}`),
      make("span", {class: "hint"}, state.isPinned ? "held, click to let go" : "click to hold"));
  }

  // Norms of the gradient by step: of h, of c, or of both together, over all cells of the model.
  function norms(back, part) {
    const cells = back.layers.flat(), T = back.dxs.length;
    return Array.from({length: T}, (_, t) => Math.hypot(...cells.flatMap((cell) => [
      part === "c" ? 0 : Engine.norm(cell.dh[t]), part === "h" ? 0 : Engine.norm(cell.dc[t])])));
  }

  // Words in which a gradient falls to 1/e: -1 / slope of ln norm by distance, least squares.
  function decay(values) {
    const T = values.length, points = [];
    values.forEach((v, t) => {
      if (v > 1e-250 && t < T - 1) points.push([T - 1 - t, Math.log(v)]);
    });
    if (points.length < 2) return NaN;
    const mean = (k) => points.reduce((sum, p) => sum + p[k], 0) / points.length;
    const x = mean(0), y = mean(1);
    const slope = points.reduce((sum, p) => sum + (p[0] - x) * (p[1] - y), 0) /
      points.reduce((sum, p) => sum + (p[0] - x) ** 2, 0);
    return slope < 0 ? -1 / slope : Infinity;
  }

  function gradient(state, canvas) {
    const T = state.words.length, part = state.part, series = [];
    const curve = (back) => {
      const all = norms(back, part), size = norms(back, "both")[T - 1];
      if (!(size > 0)) return []; // a dead layer of ReLUs
      return all.map((v, t) => [T - 1 - t, v / size]).filter(([, v]) => v > 1e-30).reverse();
    };
    for (const other of state.others) {
      if (part === "c" && other.model.cell.includes("lstm") === false) continue;
      series.push({points: curve(other.back), color: Texts.colors[other.model.cell],
        label: Texts.cells[other.model.cell], width: 2});
    }
    const color = Texts.colors[state.model.cell], label = Texts.cells[state.model.cell];
    if (state.isTurned) {
      series.push({points: curve(state.base.back), color, dash: [5, 4], width: 1.6,
        label: `${label}, as trained`});
    }
    series.push({points: curve(state.now.back), color, width: 3,
      label: state.isTurned ? `${label}, turned` : label});
    const held = state.predictedShare;
    if (held > 0 && held < 1) {
      series.push({points: [[0, 1], [T - 1, held ** (T - 1)]], color: "--muted", dash: [1, 4],
        label: `${Texts.keeper[Texts.family(state.cell.kind)]} alone`});
    }
    const all = series.flatMap((line) => line.points.map(([, v]) => v));
    const low = Math.max(1e-20, Math.min(0.1, ...all)), high = Math.max(1, ...all);
    return Charts.lineChart(canvas, {
      height: 300, series, cursor: T - 1 - state.step,
      x: {min: 0, max: Math.max(T - 1, 1),
        label: `distance to the last ${Texts.one}, in ${Texts.many}`,
        ticks: Charts.linear(0, Math.max(T - 1, 1))},
      y: {min: low, max: high, label: `gradient norm, last ${Texts.one} = 1 (log scale)`,
        ticks: Charts.powers(low, high), scale: Math.log},
    });
  }

  function horizon(state) {
    const {base, now} = state.measured, distances = state.subject.distances;
    const color = Texts.colors[state.model.cell], line = (found, rest) => ({
      points: distances.map((d, k) => [d, found.accuracy[k]]), color, ...rest});
    const series = [];
    if (base) {
      series.push(line(base, state.isTurned ? {dash: [5, 4], width: 1.6, label: "as trained"}
        : {width: 3, dots: true, label: "as trained"}));
    }
    if (now && state.isTurned) series.push(line(now, {width: 3, dots: true, label: "turned"}));
    const shown = state.isTurned ? now : base, marks = [], max = distances[distances.length - 1];
    if (shown && shown.horizon <= max) {
      marks.push({at: shown.horizon, color: "--ink", label: `horizon ${words(shown.horizon)}`});
    }
    const predicted = Engine.timeConstant(state.predictedShare);
    if (predicted > 0 && predicted < 1e4) {
      const gate = Texts.keeper[Texts.family(state.cell.kind)];
      marks.push({at: predicted, color: "--warn",
        label: `predicted \u22121/ln ${gate} = ${words(predicted)}`});
    }
    series.push({points: [[distances[0], state.task.chance], [max, state.task.chance]],
      color: "--muted", dash: [2, 3], width: 1, label: "chance"});
    Charts.lineChart($("horizon"), {
      height: 270, series, marks,
      x: {min: distances[0], max, label: state.task.kind === "sky"
        ? "words between clue and question" : "length of the sequence, in steps",
        scale: (v) => Math.log(v + 4), ticks: distances.map((d) => [d, String(d)])},
      y: {min: 0, max: 1, label: "right answers",
        ticks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, `${100 * v}%`])},
    });
    const count = shown ? shown.count : 0;
    $("horizon-caption").textContent = `Memory horizon: the share of right answers on fresh ` +
      `${state.task.kind === "sky" ? "sentences" : "sequences"} of the task` +
      (count < state.count ? `, measuring \u2026 ${count} of ${state.count}.`
        : ` (${count} at each distance). The horizon is where it falls half way to chance.`);
  }

  function effect(state) {
    const {base, now, subject} = state, T = state.words.length;
    const answerOf = (one) => {
      if (!subject.classes.length) return (one.outputs[T - 1][0] + subject.centre).toFixed(3);
      const p = one.probabilities[T - 1], top = p.indexOf(Math.max(...p));
      return `${subject.classes[top]}, ${Reading.short(p[top])}`;
    };
    const ratio = (one) => {
      const all = norms(one.back, "both"), value = all[0] / all[T - 1];
      return value >= 0.01 && value < 1e4 ? value.toPrecision(2) : value.toExponential(0);
    };
    const limit = subject.distances[subject.distances.length - 1];
    const horizonOf = (found) => !found ? "\u2026" : found.horizon === Infinity
      ? `more than ${limit} ${Texts.many}` : found.horizon === 0 ? "none" : words(found.horizon);
    const slowest = Engine.timeConstant(Math.max(...state.base.keep));
    const rows = [[`Answer at the last ${Texts.one}`, answerOf]];
    if (state.isMeasurable) {
      rows.push(["Memory horizon, measured", (one) =>
        horizonOf(one === base ? state.measured.base : state.measured.now)]);
    }
    rows.push([`Gradient at the first ${Texts.one} \u00f7 at the last`, ratio],
      ["The gradient falls to 1/e within", (one) => {
        const time = decay(norms(one.back, "both"));
        return time < 1e4 ? words(time) : "does not fade";
      }]);
    const gate = Texts.keeper[Texts.family(state.cell.kind)];
    if (gate) {
      rows.push([`\u22121/ln ${gate}: what the gate alone would remember`, (one) => one === base
        ? `slowest unit ${words(slowest)}` : state.predictedShare === null ? "\u2013"
          : words(Engine.timeConstant(state.predictedShare))]);
    }
    if (state.isTurned) {
      $("flag-effect").textContent = rows.slice(0, rows.length > 4 ? 2 : 1).map(([name, value]) =>
        `${name.split(" at ")[0].split(",")[0]}: ${value(base)} \u2192 ${value(now)}.`).join(" ");
    }
    $("effect").tBodies[0].replaceChildren(...rows.map(([name, value]) => make("tr", {},
      make("th", {scope: "row"}, name), make("td", {}, value(base)),
      make("td", {}, state.isTurned ? value(now) : "\u2013"))));
  }

  function reading(state) {
    const {cell, steps, keep, now, target, subject, model} = state, T = steps.length;
    const last = now.back.layers[state.layer][state.direction], readAt = last.dh[T - 1].slice();
    if (cell.kind === "lstm") {
      for (let j = 0; j < cell.H; j++) {
        readAt[j] *= steps[T - 1].o[j] * (1 - Math.tanh(steps[T - 1].c[j]) ** 2);
      }
    }
    const sizes = norms(now.back, "both");
    const saliency = now.back.dxs.map((dx, t) => Math.abs(dx.reduce(
      (sum, v, j) => sum + v * now.trace.xs[t][j], 0)));
    const sentences = Reading.all({
      cell, steps, keep, target, readAt, saliency, classes: subject.classes, norms: sizes,
      probabilities: now.probabilities, decay: decay(sizes), head: model.head,
      isLast: state.layer === model.layers.length - 1,
      // Of a pooled model: what the maximum of unit j adds to the score of the answer, against the
      // mean of all answers.
      weight: (j) => {
        const n = now.trace.ys[0].length, C = model.classes;
        const row = (n + state.direction * cell.H + j) * C;
        const all = model.w_out.subarray(row, row + C);
        return C === 1 ? all[0] : all[target] - all.reduce((sum, v) => sum + v, 0) / C;
      },
    });
    const units = sentences.flat().filter((one) => one.unit !== undefined).map((one) => one.unit);
    const part = (one) => typeof one === "string" ? one : make("button", {
      type: "button", onclick: () => {
        state.select(one);
        $("maps").scrollIntoView({block: "center", behavior: "smooth"});
      },
    }, "unit" in one ? String(one.unit) : `${quoted(state, one.step)} (${one.step + 1})`);
    $("reading").replaceChildren(...sentences.map((parts) => make("li", {}, ...parts.map(part))));
    return units;
  }

  return {$, answer, byWord, decay, effect, gradient, horizon, make, makeMaps, maps, norms, quoted,
    reading, strip, unit};
})();
