// Fresh sentences of a task, and how far back a model remembers on them.
"use strict";
const Horizon = (() => {
  // Mulberry32: a small generator of uniform numbers with a seed.
  function randomOf(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  const below = (random, n) => Math.min(Math.floor(random() * n), n - 1);

  function load(saved) {
    if (saved === null || saved.kind === "adding") return saved;
    const arrays = ["clues", "filler", "lengths"].map((name) => [name, Engine.decode(saved[name])]);
    return {...saved, ...Object.fromEntries(arrays)};
  }

  // One sentence of the sky task: a clue with its padding, filler, and the question.
  function sky(task, distance, random) {
    const [colors, clues, length] = task.clues.shape, widest = task.filler.shape[1];
    const answer = below(random, colors), start = (answer * clues + below(random, clues)) * length;
    const clue = Array.from(task.clues.values.subarray(start, start + length)), filler = [];
    while (filler.length < distance) {
      const row = below(random, task.filler.shape[0]) * widest, words = task.filler.values;
      filler.push(...words.subarray(row, row + task.lengths.values[row / widest]));
    }
    return {answer, clue, filler: filler.slice(0, distance), question: task.question};
  }

  // One sequence of the adding problem: two marked numbers, one in each half, and their sum.
  function adding(length, random) {
    const half = Math.floor(length / 2);
    const marks = [below(random, half), half + below(random, length - half)];
    const xs = Array.from({length}, (_, t) => [random(), marks.includes(t) ? 1 : 0]);
    return {tokens: xs.map((x) => ({x})), answer: xs[marks[0]][0] + xs[marks[1]][0]};
  }

  // {text, answer}: a fresh sentence as a reader would type it.
  function sentence(subject, task, distance, random) {
    if (task.kind === "adding") {
      const {tokens} = adding(Math.max(distance, 2), random);
      const words = tokens.map(({x}) => x[0].toFixed(2) + (x[1] ? "*" : ""));
      const marked = words.filter((word) => word.endsWith("*")).map(parseFloat);
      return {text: words.join(" "), answer: (marked[0] + marked[1]).toFixed(2)};
    }
    const {answer, clue, filler, question} = sky(task, distance, random);
    const rows = [...clue.filter((row) => row > 0), ...filler, ...question];
    const text = rows.map((row) => subject.tokens.vocabulary[row]).join(" ");
    return {text, answer: subject.classes[answer]};
  }

  // Steps a model word by word; the products of known words with W_x are computed once.
  function stream(model, change) {
    const cells = model.layers.map(([cell]) => cell), known = new Map();
    const first = (token) => {
      if (token.x) return Engine.fromInput(cells[0], Engine.embed(model, token));
      if (!known.has(token[0])) {
        known.set(token[0], Engine.fromInput(cells[0], Engine.embed(model, token)));
      }
      return known.get(token[0]);
    };
    const start = cells.map(Engine.initial);
    const feed = (states, tokens) => tokens.reduce((before, token) => {
      let a = first(token);
      return cells.map((cell, layer) => {
        if (layer) a = Engine.fromInput(cell, a);
        const now = Engine.step(cell, a, before[layer], change.scale, change.clamps[`${layer}.0`]);
        a = now.h;
        return now;
      });
    }, states);
    return {start, feed, read: (states) => Engine.dense(model, states[states.length - 1].h)};
  }

  // Whether the answers at all distances of sentence number `number` are right.
  function trial(model, task, distances, steps, number) {
    const random = randomOf(7919 * (number + 1)), {start, feed, read} = steps;
    if (task.kind === "adding") {
      return distances.map((distance) => {
        const {tokens, answer} = adding(distance, random);
        return Math.abs(read(feed(start, tokens))[0] - answer) < task.tolerance;
      });
    }
    const rows = (list) => list.map((row) => [row]);
    const all = sky(task, distances[distances.length - 1], random);
    let state = feed(start, rows(all.clue)), done = 0;
    return distances.map((distance) => {
      state = feed(state, rows(all.filler.slice(done, distance)));
      done = distance;
      const outputs = read(feed(state, rows(all.question)));
      return outputs.indexOf(Math.max(...outputs)) === all.answer;
    });
  }

  // The distance at which a curve of accuracies falls below the level, on a straight line between
  // the two measured distances; 0 if it begins below, Infinity if it never falls.
  function crossing(distances, accuracy, level) {
    const last = accuracy.findLastIndex((value) => value >= level);
    if (last < 0) return 0;
    if (last === accuracy.length - 1) return Infinity;
    const share = (accuracy[last] - level) / (accuracy[last] - accuracy[last + 1]);
    return distances[last] + share * (distances[last + 1] - distances[last]);
  }

  // Measures in pieces of about 20 ms, so that the page stays responsive. `show` is called after
  // every piece with {count, accuracy, horizon}. Returns a function that stops the measurement.
  function measure(model, task, distances, change, count, show) {
    const steps = stream(model, change), right = distances.map(() => 0);
    let number = 0, timer = 0;
    const piece = () => {
      const end = performance.now() + 20;
      while (number < count && performance.now() < end) {
        trial(model, task, distances, steps, number).forEach((ok, k) => { right[k] += ok; });
        number++;
      }
      const accuracy = right.map((n) => n / number);
      const level = (1 + task.chance) / 2;
      if (number < count) timer = setTimeout(piece, 0);
      show({count: number, accuracy, horizon: crossing(distances, accuracy, level)});
    };
    timer = setTimeout(piece, 0);
    return () => clearTimeout(timer);
  }

  return {crossing, load, measure, randomOf, sentence, sky, adding, stream, trial};
})();
