"""NumPy in float64, one sequence at a time, one step at a time: no masks, no scan, no batch.

A sequence is cut where its length ends and split where it is reset, and the pieces are run apart.
Of JAX only the derivative of a single step is used.
"""

import functools
from types import SimpleNamespace

import jax
import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def rnn_step(p, s, x):
    h = np.tanh(x @ p.w_x + s["h"] @ p.w_h + p.b)
    return {"h": h}, h


def rnn_relu_step(p, s, x):
    h = np.maximum(x @ p.w_x + s["h"] @ p.w_h + p.b, 0)
    return {"h": h}, h


def lstm_step(p, s, x):
    H = len(s["h"])
    a = x @ p.w_x + s["h"] @ p.w_h + p.b
    i, f, g, o = (a[n * H : (n + 1) * H] for n in range(4))
    c = sigmoid(f) * s["c"] + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return {"h": h, "c": c}, h


def peephole_step(p, s, x):
    H = len(s["h"])
    a = x @ p["w_x"] + s["h"] @ p["w_h"]
    c = sigmoid(a[H : 2 * H] + p["peep"][1] * s["c"]) * s["c"]
    c = c + sigmoid(a[:H] + p["peep"][0] * s["c"]) * np.tanh(a[2 * H : 3 * H])
    h = sigmoid(a[3 * H :] + p["peep"][2] * c) * np.tanh(c)
    return {"h": h, "c": c}, h


def lstm_variant_step(
    p, s, x, blocks="ifgo", *, coupled=False, gate=sigmoid, candidate=np.tanh, output=np.tanh
):
    """A variant of the LSTM with the blocks named by their letters."""
    H, gates = len(s["h"]), [name for name in blocks if name != "g"]
    a = x @ p.w_x + s["h"] @ p.w_h + p.b
    a = {name: a[n * H : (n + 1) * H] for n, name in enumerate(blocks)}
    if s.get("gates") is not None:
        for n, name in enumerate(gates):
            a[name] = a[name] + (s["gates"] @ p.w_gates)[n * H : (n + 1) * H]

    def opened(name, c):
        if name not in a:
            return np.ones(H)
        return gate(a[name] + (0 if p.peepholes is None else p.peepholes[gates.index(name)] * c))

    i = opened("i", s["c"])
    f = 1 - i if coupled else opened("f", s["c"])
    c = f * s["c"] + i * candidate(a["g"])
    o = opened("o", c)
    h = o * output(c)
    state = {"h": h, "c": c}
    if s.get("gates") is not None:
        state["gates"] = np.concatenate([{"i": i, "f": f, "o": o}[name] for name in gates])
    return state, h


def _gru_gates(p, s, x):
    H = len(s["h"])
    a = x @ p.w_x + p.b
    r = sigmoid(a[:H] + s["h"] @ p.w_h[:, :H])
    z = sigmoid(a[H : 2 * H] + s["h"] @ p.w_h[:, H:])
    return r, z, a[2 * H :]


def gru_step(p, s, x):
    r, z, a = _gru_gates(p, s, x)
    h = (1 - z) * np.tanh(a + (r * s["h"]) @ p.w_n) + z * s["h"]
    return {"h": h}, h


def gru_after_step(p, s, x):
    r, z, a = _gru_gates(p, s, x)
    h = (1 - z) * np.tanh(a + r * (s["h"] @ p.w_n + p.b_n)) + z * s["h"]
    return {"h": h}, h


def mgu_step(p, s, x):
    f_x, n_x = np.split(x @ p.w_x + p.b, 2)
    f = sigmoid(f_x + s["h"] @ p.w_h)
    h = (1 - f) * s["h"] + f * np.tanh(n_x + (f * s["h"]) @ p.w_n)
    return {"h": h}, h


def min_gru_step(p, s, x, candidate=lambda n: n):
    a = x @ p.w_x + p.b
    z, n = np.split(a, 2)
    h = (1 - sigmoid(z)) * s["h"] + sigmoid(z) * candidate(n)
    return {"h": h}, h


def min_gru_positive_step(p, s, x):
    return min_gru_step(p, s, x, lambda n: np.where(n < 0, sigmoid(n), n + 0.5))


def min_lstm_step(p, s, x):
    i, f, g = np.split(x @ p.w_x + p.b, 3)
    i, f = sigmoid(i), sigmoid(f)
    h = (f * s["h"] + i * g) / (f + i)
    return {"h": h}, h


def lru_step(p, s, x):
    eigenvalue = np.exp(-np.exp(p.nu_log) + 1j * np.exp(p.theta_log))
    h = eigenvalue * s["h"] + np.exp(p.gamma_log) * (x @ (p.b_re + 1j * p.b_im))
    return {"h": h}, (h @ (p.c_re + 1j * p.c_im)).real + x @ p.w_y


def as_numpy(tree):
    """The tree in float64 or complex128."""
    return jax.tree.map(lambda a: np.asarray(a, np.promote_types(a.dtype, np.float64)), tree)


def attention_step(p, s, x):
    key, value, query = x @ p["key"], x @ p["value"], x @ p["query"]
    decay = sigmoid(x @ p["gate"])
    memory = decay * s["memory"] + np.outer(value, key)
    norm = decay * s["norm"] + key
    return {"memory": memory, "norm": norm}, memory @ query / (1 + abs(norm @ query))


def unroll(step, params, xs, state, fresh, **contract):
    """xs (T, *batch, D), state dict of (*batch, ...), fresh dict of one state.

    Returns (final_state, ys): dict of (*batch, ...), and (T, *batch, H).
    """
    return visit(step, params, xs, state, fresh, **contract)[:2]


def visit(step, params, xs, state, fresh, *, lengths=None, mask=None, resets=None, reverse=False):
    """Does what `unroll` does and returns the state after every step too, (T, *batch, ...)."""
    params, xs, state, fresh = as_numpy((params, xs, state, fresh))
    params = SimpleNamespace(**params._asdict()) if hasattr(params, "_asdict") else params
    batch = xs.shape[1:-1]
    size = len(step(params, fresh, np.zeros(xs.shape[-1]))[1])
    final = {name: np.array(value) for name, value in state.items()}
    states = {name: np.zeros((len(xs), *value.shape), value.dtype) for name, value in final.items()}
    ys = np.zeros((len(xs), *batch, size))
    for n in np.ndindex(*batch):
        length = len(xs) if lengths is None else int(np.asarray(lengths)[n])
        s = {name: value[n] for name, value in state.items()}
        padding = range(length, len(xs))
        for name in states if reverse else ():  # the padding comes first
            states[name][(slice(length, None), *n)] = s[name]
        for t in range(length)[:: -1 if reverse else 1]:
            if resets is not None and np.asarray(resets)[(t, *n)]:
                s = fresh
            if mask is None or np.asarray(mask)[(t, *n)]:
                s, ys[(t, *n)] = step(params, s, xs[(t, *n)])
            for name in states:
                states[name][(t, *n)] = s[name]
        for name in final:
            final[name][n] = s[name]
            for t in () if reverse else padding:
                states[name][(t, *n)] = s[name]
    return final, ys, states


@functools.cache
def _derivatives(cell):
    """One step of a cell, its pullback, and the pullback of its initial state, compiled."""

    def back(params, state, x_t, cotangents):
        return jax.vjp(cell.step, params, state, x_t)[1](cotangents)

    def back_to_start(params, cotangent):
        return jax.vjp(lambda p: cell.initial_state(p, ()), params)[1](cotangent)[0]

    return jax.jit(cell.step), jax.jit(back), jax.jit(back_to_start)


def backpropagate(
    cell, params, xs, state, cotangents, *, lengths=None, mask=None, resets=None, reverse=False
):
    """Backpropagation through time by the textbook: one sequence, one step at a time.

    Args:
      cell: a cell.
      params: its parameters.
      xs: (T, B, D).
      state: leaves (B, ...); None for the cell's own.
      cotangents: of (final_state, ys, states), as jax.grad has them.
      lengths: (B,) or None.
      mask: (T, B) or None.
      resets: (T, B) or None.
      reverse: whether time runs from the last step to the first.

    Returns:
      (dparams, dxs, dstate), of what the result depends on.
    """
    step, back, back_to_start = _derivatives(cell)
    num_steps, batch = xs.shape[:2]
    fresh = cell.initial_state(params, ())
    add = lambda a, b: jax.tree.map(np.add, a, b)  # noqa: E731
    at = lambda tree, where: jax.tree.map(lambda a: np.asarray(a)[where], tree)  # noqa: E731
    zero = jax.tree.map(np.zeros_like, fresh)
    dparams, dfresh, dxs = jax.tree.map(np.zeros_like, params), zero, np.zeros(xs.shape, xs.dtype)
    dstates = []
    for n in range(batch):
        length = num_steps if lengths is None else int(lengths[n])
        order = list(range(length))[:: -1 if reverse else 1]
        starts = [t for t in order if resets is not None and resets[t, n]]
        s, read = fresh if state is None else at(state, n), []
        for t in order:
            s = fresh if t in starts else s
            read.append((t, s))
            if mask is None or mask[t, n]:
                s, _ = step(params, s, xs[t, n])
        # The states of the padding are the last one, or, going backwards, the first one.
        of_padding = jax.tree.map(lambda a, k=(slice(length, None), n): a[k].sum(0), cotangents[2])
        d = at(cotangents[0], n)
        d = d if reverse else add(d, of_padding)
        for t, s in reversed(read):
            d = add(d, at(cotangents[2], (t, n)))
            if mask is None or mask[t, n]:
                dp, d, dxs[t, n] = back(params, s, xs[t, n], (d, cotangents[1][t, n]))
                dparams = add(dparams, dp)
            if t in starts:
                dfresh, d = add(dfresh, d), zero
        dstates.append(add(d, of_padding) if reverse else d)
    if state is None:
        dfresh = functools.reduce(add, dstates, dfresh)
    dstate = jax.tree.map(lambda *a: np.stack(a), *dstates)
    return add(dparams, back_to_start(params, dfresh)), dxs, dstate
