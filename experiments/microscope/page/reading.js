// Sentences about a model, derived from its traces. A sentence is a list of parts: strings,
// {step} for a word and {unit} for a unit, which the page makes into buttons.
"use strict";
const Reading = (() => {
  const two = (v) => v.toFixed(2).replace("-", "\u2212");
  const percent = (p) => p > 0.995 && p < 1 ? "more than 99%" : p > 0 && p < 0.005 ? "less than 1%"
    : `${Math.round(100 * p)}%`;
  const count = (n) => n >= 1000 ? "more than 1,000" : String(Math.round(n));
  const words = (n) => `${count(n)} ${count(n) === "1" ? Texts.one : Texts.many}`;
  const share = (v) => v > 0.995 ? v.toFixed(3) : two(v);
  // A percentage in a list: ">99%" where it is not quite 1, "<1%" where it is not quite 0.
  const short = (p) => percent(p).replace("more than ", ">").replace("less than ", "<");
  const bestOf = (list, value) => list.reduce((a, b) => value(b) > value(a) ? b : a);

  // Where the final answer is made, and whether it stays.
  function answer({probabilities, classes, target}) {
    if (!classes.length) return [];
    const p = probabilities.map((row) => row[target]), T = p.length, name = classes[target];
    if (T < 2) return [];
    const steps = Array.from({length: T - 1}, (_, k) => k + 1);
    const jump = bestOf(steps, (t) => p[t] - p[t - 1]);
    const parts = [`The answer \u201c${name}\u201d gains most at `, {step: jump},
      `, where its probability rises from ${percent(p[jump - 1])} to ${percent(p[jump])}.`];
    const passes = steps.find((t) => t > jump && p[t] > 0.5 && p[t - 1] <= 0.5);
    if (passes !== undefined) parts.push(" It passes one half at ", {step: passes}, ".");
    const later = steps.filter((t) => t > jump);
    if (later.length) {
      const low = later.reduce((a, b) => p[b] < p[a] ? b : a);
      if (p[low] < 0.5 * p[jump] && p[T - 1] > p[low] + 0.2) {
        parts.push(` It falls to ${percent(p[low])} at `, {step: low},
          " and comes back at the end.");
      } else if (p[T - 1] < 0.7 * p[jump]) {
        parts.push(` At the end ${percent(p[T - 1])} is left.`);
      } else parts.push(` At the end it is ${percent(p[T - 1])}.`);
    }
    return [parts];
  }

  // Which writes are still in the memory at the end, and what they do to the answer:
  // c_T = sum over t of (product of f after t) i_t g_t, exactly; for a GRU with z and 1 - z.
  function memories({cell, steps, readAt, target, classes, head}) {
    const T = steps.length, found = [], isLstm = cell.kind === "lstm";
    if (!cell.gates.length || head === "pooled") return [];
    for (let j = 0; j < cell.H; j++) {
      let left = 1;
      for (let t = T - 1; t >= 0; t--) {
        const s = steps[t];
        const written = isLstm ? s.i[j] * s.g[j] : (1 - s.z[j]) * s.n[j];
        // A word next to the end is read, not remembered.
        const effect = left * written * readAt[j];
        if (t < T - Math.min(4, T / 2)) found.push({j, t, left, written, effect});
        left *= isLstm ? s.f[j] : s.z[j];
      }
    }
    // A memory counts by its effect and by how long it was kept.
    const weight = (one) => Math.abs(one.effect) * (T - 1 - one.t);
    found.sort((a, b) => weight(b) - weight(a));
    const units = [];
    for (const one of found) {
      if (Math.abs(one.effect) < 1e-9 || units.length === 3) break;
      if (!units.some((other) => other.j === one.j)) units.push(one);
    }
    const toward = classes.length ? `\u201c${classes[target]}\u201d` : "a larger answer";
    return units.map(({j, t, left, written, effect}) => {
      const s = steps[t], n = T - 1 - t, gate = isLstm ? "input gate" : "update gate";
      const parts = ["Unit ", {unit: j}, " opens at ", {step: t},
        ` (${gate} ${two(isLstm ? s.i[j] : s.z[j])}) and writes ${written < 0 ? "" : "+"}` +
        `${two(written)}. It keeps ${share(left ** (1 / n))} a ${Texts.one} for ${words(n)}, so ` +
        `${percent(left)} is left. `];
      if (isLstm) parts.push("It is read at ", {step: T - 1},
        ` (output gate ${two(steps[T - 1].o[j])}), `);
      else parts.push("It is read at ", {step: T - 1}, ", ");
      parts.push(`where it speaks ${effect > 0 ? "for" : "against"} ${toward}.`);
      return parts;
    });
  }

  // The units whose maximum over time moves the answer of a pooled model most.
  function maxima({cell, steps, target, classes, head, weight, isLast}) {
    if (head !== "pooled" || !isLast) return [];
    const units = Array.from({length: cell.H}, (_, j) => {
      const t = bestOf([...steps.keys()], (k) => steps[k].h[j]);
      return {j, t, top: steps[t].h[j], effect: steps[t].h[j] * weight(j)};
    });
    units.sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect));
    const name = classes.length ? `\u201c${classes[target]}\u201d` : "a larger answer";
    return units.slice(0, 3).map(({j, t, top, effect}) => ["Unit ", {unit: j}, " is highest at ",
      {step: t}, ` (${two(top)}); its maximum speaks ${effect > 0 ? "for" : "against"} ${name} ` +
      `(${effect > 0 ? "+" : ""}${two(effect)} on its score).`]);
  }

  // The largest memory that a gate throws away within one word.
  function forgotten({cell, steps}) {
    if (!cell.gates.length) return [];
    const isLstm = cell.kind === "lstm", key = isLstm ? "c" : "h", gate = isLstm ? "f" : "z";
    let most = {loss: 0.3};
    for (let t = 0; t < steps.length; t++) {
      for (let j = 0; j < cell.H; j++) {
        const old = steps[t].before[key][j], loss = Math.abs(old) * (1 - steps[t][gate][j]);
        if (loss > most.loss) most = {loss, t, j, old, now: steps[t][key][j]};
      }
    }
    if (most.t === undefined) {
      return [[`No unit forgets more than 0.3 of its memory in one ${Texts.one}.`]];
    }
    const {t, j, old, now} = most;
    return [["Unit ", {unit: j}, " forgets at ", {step: t},
      ` (${isLstm ? "forget" : "update"} gate ${two(steps[t][gate][j])}): its memory goes from ` +
      `${two(old)} to ${two(now)}, the largest loss of this sentence.`]];
  }

  // How the units share out short and long memories.
  function population({cell, keep, steps}) {
    const n = Math.max(4, Math.round(steps.length / 2)), order = [...keep.keys()];
    order.sort((a, b) => keep[b] - keep[a]);
    const long = order.filter((j) => keep[j] ** n > 0.5).length, half = (j) =>
      Math.log(0.5) / Math.log(Math.min(keep[j], 1 - 1e-9));
    const slow = order[0], fast = order[order.length - 1];
    if (!cell.gates.length) {
      return [["This cell has no gate that protects a memory. By its own link alone the slowest ",
        "unit, ", {unit: slow}, `, keeps ${two(keep[slow])} of its value a ${Texts.one}; all the ` +
        "rest is passed from unit to unit through the recurrent matrix."]];
    }
    return [[`${long} of ${cell.H} units keep more than half of their memory for ${words(n)}. `,
      "The slowest, unit ", {unit: slow}, `, loses half in ${words(half(slow))}; the fastest, `,
      "unit ", {unit: fast},
      `, in ${half(fast) < 1 ? `less than a ${Texts.one}` : words(half(fast))}.`]];
  }

  // The words that move the answer most: |d score / d x_t . x_t|.
  function influence({saliency}) {
    const order = [...saliency.keys()].sort((a, b) => saliency[b] - saliency[a]).slice(0, 3);
    if (!(saliency[order[0]] > 0)) return [];
    const parts = ["The answer reacts most to "];
    order.forEach((step, k) => {
      if (k) parts.push(k === order.length - 1 ? " and " : ", ");
      parts.push({step});
    });
    return [[...parts, " (gradient times input)."]];
  }

  function gradient({norms, decay, head}) {
    const T = norms.length, ratio = norms[0] / norms[T - 1];
    if (T < 3 || !Number.isFinite(ratio)) return [];
    if (head === "pooled") {
      return [["Every word is read by the mean and the maximum over time, so the gradient has a " +
        "short way to each of them and need not cross the whole sentence."]];
    }
    const size = ratio >= 0.01 ? two(ratio) : ratio.toExponential(0);
    const parts = ["At ", {step: 0}, `, ${words(T - 1)} back, the gradient is ${size} times that ` +
      `at the last ${Texts.one}`];
    if (!(decay > 0 && decay < 1e4)) return [[...parts, "; it does not fade."]];
    return [[...parts, `: it shrinks to ${share(Math.exp(-1 / decay))} of itself a ${Texts.one}.`]];
  }

  const all = (about) => [answer, memories, maxima, forgotten, population, influence, gradient]
    .flatMap((part) => part(about));

  return {all, percent, short, two};
})();
