"""Values and all gradients of rnn, lstm and gru are those of torch.nn, in float64."""

import importlib.util
import sys

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.cells import GRUState, LSTMState, RNNState

_path = __file__.replace("test_torch.py", "torch_reference.py")
_spec = importlib.util.spec_from_file_location("torch_reference", _path)
torch_reference = sys.modules["torch_reference"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(torch_reference)
D, H = torch_reference.D, torch_reference.H

WIDE = {"param_dtype": jnp.float64}
CELLS = {
    "rnn": sm.rnn(D, H, **WIDE),
    "rnn_relu": sm.rnn(D, H, activation="relu", **WIDE),
    "lstm": sm.lstm(D, H, **WIDE),
    "gru_after": sm.gru(D, H, reset_after=True, **WIDE),
}


def ours(kind, weights, prefix=""):
    """Torch's weights, or their gradients, as our parameters."""
    names = [f"{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    state_dict = {name: weights[f"{prefix}{name}"] for name in names}
    if prefix:  # both of torch's biases have the gradient of their sum
        is_added = np.arange(len(state_dict["bias_hh_l0"])) < (
            2 * H if kind == "gru_after" else 4 * H
        )
        state_dict["bias_hh_l0"] = np.where(is_added, 0, state_dict["bias_hh_l0"])
    return sm.weights.from_torch(state_dict, CELLS[kind])


def state_of(kind, arrays, prefix=""):
    h = arrays[f"{prefix}h"][0]
    if kind == "lstm":
        return LSTMState(h, arrays[f"{prefix}c"][0])
    return GRUState(h) if kind == "gru_after" else RNNState(h)


def load(kind, source):
    if source == "live":
        pytest.importorskip("torch")
        return torch_reference.reference(kind)
    with np.load(torch_reference.STORED) as stored:
        return {name.split("/")[1]: stored[name] for name in stored if name.split("/")[0] == kind}


@pytest.mark.parametrize("source", ["stored", "live"])
@pytest.mark.parametrize("method", ["scan", "fused"])
@pytest.mark.parametrize("kind", torch_reference.KINDS)
def test_equals_torch(kind, method, source):
    want = load(kind, source)
    with jax.enable_x64(True):
        cell = CELLS[kind]

        def score(params, xs, state):
            final, ys = sm.unroll(cell, params, xs, state, method=method)
            steps = jnp.arange(1.0, len(xs) + 1)[:, None, None]
            value = jnp.sum(jnp.sin(ys) * steps) + sum(jnp.sum(a**2) for a in final)
            return value, (final, ys)

        arguments = jax.tree.map(jnp.asarray, (ours(kind, want), want["xs"], state_of(kind, want)))
        gradients, (final, ys) = jax.grad(score, (0, 1, 2), has_aux=True)(*arguments)
        gradient = ours(kind, want, "grad_")
    cases.assert_close((ys, final), (want["ys"], state_of(kind, want, "final_")), 1e-12)
    cases.assert_close(gradients[0], gradient, 1e-11)
    cases.assert_close(gradients[1:], (want["grad_xs"], state_of(kind, want, "grad_")), 1e-11)
