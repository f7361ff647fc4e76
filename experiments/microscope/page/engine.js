// Forward and backward passes of the models, in double precision over float32 parameters.
// A trace is what happened: gates, h and c of every step. A change is what the reader turned:
//   {scale, reset, clamps}: scale multiplies the recurrent matrices; the state is emptied before
//   the word `reset` (-1: never); clamps["layer.direction"][gate][unit] is a number, or NaN.
"use strict";
const Engine = (() => {
  const GATES = {
    rnn: [], rnn_relu: [], gru: ["r", "z", "n"], gru_after: ["r", "z", "n"],
    lstm: ["i", "f", "g", "o"],
  };
  const UNTOUCHED = {scale: 1, reset: -1, clamps: {}};
  const sigmoid = (v) => 1 / (1 + Math.exp(-v));

  // ---- parameters -------------------------------------------------------------------------

  function halfToNumber(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 0) return sign * 2 ** -24 * fraction;
    return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
  }

  // {shape, type, data: base64, scale?} -> {shape, values}; type f4, f2, i4, or i1 with a scale
  // for each row.
  function decode(array) {
    const text = atob(array.data), bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    const {shape, type} = array;
    if (type === "f4") return {shape, values: new Float32Array(bytes.buffer)};
    if (type === "i4") return {shape, values: new Int32Array(bytes.buffer)};
    if (type === "f2") {
      const table = Float32Array.from({length: 65536}, (_, bits) => halfToNumber(bits));
      return {shape, values: Float32Array.from(new Uint16Array(bytes.buffer), (b) => table[b])};
    }
    const scale = decode(array.scale).values, columns = shape[1];
    const values = Float32Array.from(new Int8Array(bytes.buffer), (v, k) =>
      v * scale[Math.floor(k / columns)]);
    return {shape, values};
  }

  function loadCell(saved) {
    const cell = {kind: saved.kind, gates: GATES[saved.kind]};
    for (const name of ["w_x", "w_h", "w_n", "b", "b_n", "h", "c"]) {
      cell[name] = saved[name] ? decode(saved[name]).values : null;
    }
    [cell.D] = saved.w_x.shape;
    [cell.H] = saved.w_h.shape;
    cell.width = saved.w_x.shape[1];
    return cell;
  }

  function loadModel(saved) {
    return {
      ...saved,
      embedding: saved.embedding ? decode(saved.embedding) : null,
      layers: saved.layers.map((directions) => directions.map(loadCell)),
      w_out: decode(saved.w_out).values, b_out: decode(saved.b_out).values,
      classes: saved.b_out.shape[0],
    };
  }

  const isBidirectional = (model) => model.layers.some((directions) => directions.length > 1);

  // x_t of a token: one number, a list of features of which the mean is taken, or {x: numbers}.
  function embed(model, token) {
    if (token.x) return Float64Array.from(token.x);
    const {shape: [, D], values} = model.embedding, x = new Float64Array(D);
    for (const row of token) {
      for (let j = 0; j < D; j++) x[j] += values[row * D + j] / token.length;
    }
    return x;
  }

  // ---- one step ---------------------------------------------------------------------------

  // out += scale * vector @ matrix; matrix (vector.length, columns), the first out.length of them.
  function addProduct(out, vector, matrix, scale) {
    const n = out.length;
    for (let k = 0; k < vector.length; k++) {
      const v = scale * vector[k], row = k * n;
      if (v !== 0) for (let j = 0; j < n; j++) out[j] += v * matrix[row + j];
    }
  }

  // out += scale * matrix @ vector
  function addTransposed(out, vector, matrix, scale) {
    const n = vector.length;
    for (let k = 0; k < out.length; k++) {
      let sum = 0;
      for (let j = 0, row = k * n; j < n; j++) sum += matrix[row + j] * vector[j];
      out[k] += scale * sum;
    }
  }

  function fromInput(cell, x) {
    const a = Float64Array.from(cell.b);
    addProduct(a, x, cell.w_x, 1);
    return a;
  }

  const initial = (cell) => ({
    h: cell.h ? Float64Array.from(cell.h) : new Float64Array(cell.H),
    c: cell.c ? Float64Array.from(cell.c) : new Float64Array(cell.H),
  });

  function clamp(values, clamps, gate) {
    const held = clamps && clamps[gate];
    if (held) for (let j = 0; j < values.length; j++) if (held[j] === held[j]) values[j] = held[j];
    return values;
  }

  // One step from `state` {h, c}, `a` = x_t W_x + b. Returns {h, c, gates by name, ...}.
  function step(cell, a, state, scale, clamps) {
    const H = cell.H, c = new Float64Array(H), h = new Float64Array(H);
    if (cell.kind === "lstm") {
      const pre = a.slice();
      addProduct(pre, state.h, cell.w_h, scale);
      const [i, f, g, o] = [0, 1, 2, 3].map((k) => pre.subarray(k * H, (k + 1) * H));
      for (let j = 0; j < H; j++) {
        i[j] = sigmoid(i[j]); f[j] = sigmoid(f[j]); o[j] = sigmoid(o[j]); g[j] = Math.tanh(g[j]);
      }
      clamp(i, clamps, "i"); clamp(f, clamps, "f"); clamp(o, clamps, "o");
      for (let j = 0; j < H; j++) {
        c[j] = f[j] * state.c[j] + i[j] * g[j];
        h[j] = o[j] * Math.tanh(c[j]);
      }
      return {h, c, i, f, g, o};
    }
    if (cell.kind.startsWith("gru")) {
      const after = cell.kind === "gru_after", rz = a.slice(0, 2 * H), n = a.slice(2 * H);
      addProduct(rz, state.h, cell.w_h, scale);
      const r = clamp(rz.subarray(0, H).map(sigmoid), clamps, "r");
      const z = clamp(rz.subarray(H).map(sigmoid), clamps, "z");
      const nh = after && cell.b_n ? Float64Array.from(cell.b_n) : new Float64Array(H);
      addProduct(nh, after ? state.h : state.h.map((v, j) => r[j] * v), cell.w_n, scale);
      for (let j = 0; j < H; j++) {
        n[j] = Math.tanh(n[j] + (after ? r[j] : 1) * nh[j]);
        h[j] = (1 - z[j]) * n[j] + z[j] * state.h[j];
      }
      return {h, c, r, z, n, nh};
    }
    h.set(a);
    addProduct(h, state.h, cell.w_h, scale);
    for (let j = 0; j < H; j++) h[j] = cell.kind === "rnn" ? Math.tanh(h[j]) : Math.max(h[j], 0);
    return {h, c};
  }

  // Pulls dh = dL/dh_t and dc (what later steps say about c_t) back through one step `now`.
  // Returns {dh, dc} of the state before it, and dx.
  function stepBack(cell, now, before, dh, dc, scale, clamps) {
    const H = cell.H, da = new Float64Array(cell.width);
    const out = {dh: new Float64Array(H), dc: new Float64Array(H), dx: new Float64Array(cell.D)};
    const free = (gate, j) => !(clamps && clamps[gate] && clamps[gate][j] === clamps[gate][j]);
    const slope = (gate, j) => free(gate, j) ? now[gate][j] * (1 - now[gate][j]) : 0;
    if (cell.kind === "lstm") {
      const {i, f, g, o, c} = now;
      for (let j = 0; j < H; j++) {
        const tc = Math.tanh(c[j]), d = dc[j] + dh[j] * o[j] * (1 - tc * tc);
        da[j] = d * g[j] * slope("i", j);
        da[H + j] = d * before.c[j] * slope("f", j);
        da[2 * H + j] = d * i[j] * (1 - g[j] * g[j]);
        da[3 * H + j] = dh[j] * tc * slope("o", j);
        out.dc[j] = d * f[j];
      }
      addTransposed(out.dh, da, cell.w_h, scale);
    } else if (cell.kind.startsWith("gru")) {
      const {r, z, n, nh} = now, after = cell.kind === "gru_after", dn = new Float64Array(H);
      for (let j = 0; j < H; j++) {
        dn[j] = dh[j] * (1 - z[j]) * (1 - n[j] * n[j]);
        da[H + j] = dh[j] * (before.h[j] - n[j]) * slope("z", j);
        out.dh[j] = dh[j] * z[j];
      }
      da.set(dn, 2 * H);
      const drh = new Float64Array(H);
      addTransposed(drh, after ? dn.map((v, j) => v * r[j]) : dn, cell.w_n, scale);
      for (let j = 0; j < H; j++) {
        da[j] = (after ? dn[j] * nh[j] : drh[j] * before.h[j]) * slope("r", j);
        out.dh[j] += after ? drh[j] : drh[j] * r[j];
      }
      addTransposed(out.dh, da.subarray(0, 2 * H), cell.w_h, scale);
    } else {
      for (let j = 0; j < H; j++) {
        da[j] = dh[j] * (cell.kind === "rnn" ? 1 - now.h[j] * now.h[j] : now.h[j] > 0 ? 1 : 0);
      }
      addTransposed(out.dh, da, cell.w_h, scale);
    }
    addTransposed(out.dx, da, cell.w_x, 1);
    return out;
  }

  // ---- whole sequences --------------------------------------------------------------------

  // The state emptied before the word t: the backward cell meets that gap before word t - 1.
  const isReset = ({reset}, t, reverse) => reset >= 0 && t === reset - (reverse ? 1 : 0);

  function unroll(cell, xs, change, key, reverse) {
    const T = xs.length, steps = new Array(T), start = initial(cell), clamps = change.clamps[key];
    let state = start;
    for (let k = 0; k < T; k++) {
      const t = reverse ? T - 1 - k : k;
      if (isReset(change, t, reverse)) state = start;
      const now = step(cell, fromInput(cell, xs[t]), state, change.scale, clamps);
      now.before = state;
      steps[t] = state = now;
    }
    return steps;
  }

  function join(arrays) {
    const all = new Float64Array(arrays.reduce((n, a) => n + a.length, 0));
    arrays.reduce((at, a) => (all.set(a, at), at + a.length), 0);
    return all;
  }

  // tokens -> {xs, layers: [[steps of each direction]], ys}
  function run(model, tokens, change = UNTOUCHED) {
    const xs = tokens.map((token) => embed(model, token)), layers = [];
    let ys = xs;
    model.layers.forEach((cells, layer) => {
      const input = ys;
      const traces = cells.map((cell, d) => unroll(cell, input, change, `${layer}.${d}`, d === 1));
      layers.push(traces);
      ys = input.map((_, t) => join(traces.map((steps) => steps[t].h)));
    });
    return {xs, layers, ys};
  }

  const pooledOf = (model, trace, t) => model.pool_words ? join([trace.ys[t], trace.xs[t]])
    : trace.ys[t];

  function dense(model, inputs) {
    const out = Float64Array.from(model.b_out);
    addProduct(out, inputs, model.w_out, 1);
    return out;
  }

  // The outputs after each word; of a pooled model the outputs as if the text ended there, which
  // holds for models that read forward only.
  function outputsByWord(model, trace) {
    if (model.head === "last") return trace.ys.map((y) => dense(model, y));
    let sum = null, most = null;
    return trace.ys.map((_, t) => {
      const now = pooledOf(model, trace, t);
      // Mean and maximum of the outputs come first, those of the words after them.
      const parts = model.pool_words ? [trace.ys[t].length, now.length] : [now.length];
      sum = sum ? sum.map((v, j) => v + now[j]) : now.slice();
      most = most ? most.map((v, j) => Math.max(v, now[j])) : now.slice();
      return dense(model, join(parts.flatMap((end, k) => {
        const start = k ? parts[k - 1] : 0;
        return [sum.subarray(start, end).map((v) => v / (t + 1)), most.subarray(start, end)];
      })));
    });
  }

  function softmax(logits) {
    const top = Math.max(...logits), powers = logits.map((v) => Math.exp(v - top));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((v) => v / sum);
  }

  // d log p(answer) / d outputs, exact where p is almost 1; 1 for a model of one number.
  function cotangent(outputs, answer) {
    if (outputs.length === 1) return Float64Array.of(1);
    const p = softmax(outputs), others = p.reduce((sum, v, k) => k === answer ? sum : sum + v, 0);
    return p.map((v, k) => k === answer ? others : -v);
  }

  // Gradients of the score of which dOut = d score / d outputs at the last word:
  // {layers: [[{dh, dc} of each direction]], dxs}. dh[t] is with respect to h_t, which the readout
  // reads too; dc[t] is with respect to c_t with h_t held, as the state of an unrolled cell.
  function gradients(model, trace, dOut, change = UNTOUCHED) {
    const T = trace.xs.length, H = trace.ys[0].length;
    let dys = trace.ys.map(() => new Float64Array(H));
    const dxs = trace.xs.map((x) => new Float64Array(x.length));
    const dRead = new Float64Array(model.w_out.length / model.classes);
    addTransposed(dRead, dOut, model.w_out, 1);
    if (model.head === "last") dys[T - 1].set(dRead);
    else {
      const pull = (into, from, start) => {
        for (let j = 0, n = into[0].length; j < n; j++) {
          const top = Math.max(...from.map((row) => row[j]));
          // Equal maxima, of a word that stands there twice, share the gradient.
          const ties = from.filter((row) => row[j] === top).length;
          for (let t = 0; t < T; t++) {
            into[t][j] += dRead[start + j] / T;
            if (from[t][j] === top) into[t][j] += dRead[start + n + j] / ties;
          }
        }
      };
      pull(dys, trace.ys, 0);
      if (model.pool_words) pull(dxs, trace.xs, 2 * H);
    }
    const layers = [];
    for (let layer = model.layers.length - 1; layer >= 0; layer--) {
      const below = layer ? trace.layers[layer - 1][0][0].h.length : 0;
      const size = layer ? below * model.layers[layer - 1].length : trace.xs[0].length;
      const dInput = trace.xs.map(() => new Float64Array(size));
      let at = 0;
      layers.unshift(model.layers[layer].map((cell, d) => {
        const steps = trace.layers[layer][d], clamps = change.clamps[`${layer}.${d}`];
        const dh = new Array(T), dc = new Array(T);
        let back = {dh: new Float64Array(cell.H), dc: new Float64Array(cell.H)};
        for (let k = 0; k < T; k++) {
          const t = d === 1 ? k : T - 1 - k;
          dh[t] = back.dh.map((v, j) => v + dys[t][at + j]);
          dc[t] = back.dc;
          back = stepBack(cell, steps[t], steps[t].before, dh[t], dc[t], change.scale, clamps);
          for (let j = 0; j < size; j++) dInput[t][j] += back.dx[j];
          if (isReset(change, t, d === 1)) back.dh.fill(0), back.dc.fill(0);
        }
        at += cell.H;
        return {dh, dc};
      }));
      dys = dInput;
    }
    return {layers, dxs: dxs.map((dx, t) => dx.map((v, j) => v + dys[t][j]))};
  }

  // ---- figures of a trace -----------------------------------------------------------------

  // Share of its state that a unit hands to the next step: f, z, or the slope of a tanh.
  function kept(cell, steps, t, j, scale = 1) {
    if (cell.kind === "lstm") return steps[t].f[j];
    if (cell.kind.startsWith("gru")) return steps[t].z[j];
    const h = steps[t].h[j], slope = cell.kind === "rnn" ? 1 - h * h : h > 0 ? 1 : 0;
    return Math.abs(slope * scale * cell.w_h[j * cell.H + j]);
  }

  // Geometric mean over the steps of what each unit keeps.
  function keeps(cell, steps, scale = 1) {
    return Float64Array.from({length: cell.H}, (_, j) => {
      let sum = 0;
      for (let t = 0; t < steps.length; t++) {
        sum += Math.log(kept(cell, steps, t, j, scale) + 1e-30);
      }
      return Math.exp(sum / steps.length);
    });
  }

  const timeConstant = (share) => share >= 1 ? Infinity : share <= 0 ? 0 : -1 / Math.log(share);
  const norm = (v) => Math.sqrt(v.reduce((sum, a) => sum + a * a, 0));

  return {GATES, UNTOUCHED, addProduct, cotangent, decode, dense, embed, fromInput, gradients,
    initial, isBidirectional, kept, keeps, loadModel, norm, outputsByWord, run, softmax, step,
    timeConstant};
})();
