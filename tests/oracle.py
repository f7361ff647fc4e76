"""NumPy in float64, one sequence at a time, one step at a time: no masks, no scan, no batch.

A sequence is cut where its length ends and split where it is reset, and the pieces are run apart.
"""

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


def one_sequence(step, params, xs, state, fresh, length, resets, reverse):
    """xs (T, D), state and fresh dicts of vectors -> final state, ys (T, H), states by step."""
    order = list(range(length))[:: -1 if reverse else 1]
    ys, states = {}, {}
    for t in order:
        if resets is not None and resets[t]:
            state = fresh
        state, ys[t] = step(params, state, xs[t])
        states[t] = state
    return state, ys, states


def unroll(step, params, xs, state, fresh, *, lengths=None, resets=None, reverse=False):
    """xs (T, *batch, D), state dict of (*batch, H), fresh dict of (H,).

    Returns (final_state, ys): dict of (*batch, H), and (T, *batch, H).
    """
    params, xs, state, fresh = as_numpy((params, xs, state, fresh))
    params = SimpleNamespace(**params._asdict()) if hasattr(params, "_asdict") else params
    batch = xs.shape[1:-1]
    H = state["h"].shape[-1]
    final = {name: np.zeros_like(value) for name, value in state.items()}
    out = np.zeros((len(xs), *batch, H))
    for n in np.ndindex(*batch):
        at = (slice(None), *n)
        last, ys, _ = one_sequence(
            step,
            params,
            xs[at],
            {name: value[n] for name, value in state.items()},
            fresh,
            len(xs) if lengths is None else int(np.asarray(lengths)[n]),
            None if resets is None else np.asarray(resets)[at],
            reverse,
        )
        for name in final:
            final[name][n] = last[name]
        for t, y in ys.items():
            out[(t, *n)] = y
    return final, out
