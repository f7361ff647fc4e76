"""The LSTM with parts removed, replaced or added: the cells of an ablation study.

    i = gate(x_t W_xi + h_tm1 W_hi + p_i * c_tm1 + b_i)
    f = gate(x_t W_xf + h_tm1 W_hf + p_f * c_tm1 + b_f)
    g = candidate(x_t W_xg + h_tm1 W_hg + b_g)
    c_t = f * c_tm1 + i * g
    o = gate(x_t W_xo + h_tm1 W_ho + p_o * c_t + b_o)
    h_t = o * output(c_t),    y_t = h_t

The peepholes p are absent by default. With full gate recurrence the pre-activations of i, f and o
also have (i, f, o)_tm1 W_g. A gate that is removed is 1; a coupled forget gate is 1 - i. With all
options at their defaults this is `sm.lstm`.

Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber 2015, "LSTM: A Search Space Odyssey"
(arXiv 1503.04069), section 3. Their baseline has peepholes; this one has not.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.initializers import (
    Initializer,
    check_chrono,
    chrono_bias,
    glorot_uniform,
    orthogonal,
    packed,
)
from seqmodels.cells.products import matmul
from seqmodels.cells.stages import check_last_axis, check_size, lift, make_cell, state_dtype
from seqmodels.types import Array, Cell, GateValues

# Activations of gates: values in [0, 1] for the first two, in [0, inf) for relu.
GATES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,  # min(max(x / 6 + 1/2, 0), 1)
    "relu": jax.nn.relu,
}
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "identity": lambda x: x,
}


class LSTMVariantState(NamedTuple):
    """h: hidden state (*batch, H). c: cell state (*batch, H).

    gates: the gates of the last step side by side (*batch, nH); None without gate recurrence.
    """

    h: Array
    c: Array
    gates: Array | None = None


class LSTMVariantParams(NamedTuple):
    """Parameters of n blocks, those of i, f, g, o that the variant has, in this order.

    w_x: (D, nH). w_h: (H, nH). b: (nH,). peepholes: (m, H) for the m gates in the order i, f, o, or
    None. w_gates: (mH, mH), from the gates of the last step to the gates, or None.
    """

    w_x: Array
    w_h: Array
    b: Array
    peepholes: Array | None = None
    w_gates: Array | None = None


def lstm_variant(
    input_size: int,
    hidden_size: int,
    *,
    input_gate: bool = True,
    forget_gate: bool = True,
    output_gate: bool = True,
    coupled: bool = False,
    peepholes: bool = False,
    gate_recurrence: bool = False,
    gate: str = "sigmoid",
    candidate: str = "tanh",
    output: str = "tanh",
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
    forget_bias: float = 1.0,
    chrono: float | None = None,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Returns an LSTM with parts removed, replaced or added.

    Args:
      input_size: D.
      hidden_size: H.
      input_gate: False for i = 1.
      forget_gate: False for f = 1, as in the LSTM of 1997.
      output_gate: False for o = 1.
      coupled: True for f = 1 - i, without parameters of a forget gate.
      peepholes: whether the gates also read the cell state, each unit only its entry.
      gate_recurrence: whether the gates also read all gates of the step before.
      gate: "sigmoid", "hard_sigmoid" or "relu", the activation of the gates.
      candidate: "tanh", "relu" or "identity", the activation of g.
      output: "tanh", "relu" or "identity", the activation of the cell state that is read.
      w_x_init: initializer of every gate's block of w_x.
      w_h_init: initializer of every gate's block of w_h and of w_gates.
      forget_bias: bias of the forget gate; of a coupled one, minus the bias of the input gate.
      chrono: the longest dependency expected, in steps. Then b_f = log U[1, chrono - 1] and b_i =
        -b_f, for the gates that the variant has (arXiv 1804.11188).
      dtype: dtype of the matrix products; None for the dtype of the parameters.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` whose parameters are `LSTMVariantParams`.

    Raises:
      ValueError: if a size is not a positive integer, `chrono` is not greater than 2, or an
        activation is not known. Also if `coupled` is used with a gate removed, or `gate_recurrence`
        without gates.

    Examples:
      >>> cell = lstm_variant(3, 4, forget_gate=False)
      >>> cell.init(jax.random.key(0)).w_h.shape
      (4, 12)
    """
    check_size("lstm_variant", input_size=input_size, hidden_size=hidden_size)
    check_chrono(chrono)
    _check_name("gate", gate, GATES)
    _check_name("candidate", candidate, ACTIVATIONS)
    _check_name("output", output, ACTIVATIONS)
    if coupled and not (input_gate and forget_gate):
        raise ValueError("lstm_variant: coupled: expected an input gate and a forget gate")
    present = {"i": input_gate, "f": forget_gate and not coupled, "g": True, "o": output_gate}
    blocks = tuple(name for name, there in present.items() if there)
    gates = tuple(name for name in blocks if name != "g")
    if gate_recurrence and not gates:
        raise ValueError("lstm_variant: gate_recurrence: got no gate, expected at least one")

    def init(key: Array) -> LSTMVariantParams:
        key_x, key_h, key_b, key_p, key_g = jax.random.split(key, 5)
        zeros = jnp.zeros(hidden_size, param_dtype)
        bias = dict.fromkeys(blocks, zeros)
        keep = jnp.full(hidden_size, forget_bias, param_dtype)
        if chrono is not None:
            keep = chrono_bias(key_b, (hidden_size,), chrono, param_dtype)
        if "f" in bias:
            bias["f"] = keep
        if "i" in bias and (coupled or chrono is not None):
            bias["i"] = -keep
        draw = functools.partial(packed, dtype=param_dtype)
        size = len(gates) * hidden_size
        between = None
        if gate_recurrence:
            # Scaled down, because m gates, each between 0 and 1, add up in every pre-activation.
            rows = draw(w_h_init, key_g, hidden_size, hidden_size, blocks=len(gates) ** 2)
            between = rows.reshape(hidden_size, len(gates), size).swapaxes(0, 1)
            between = between.reshape(size, size) / len(gates)
        peep = jax.random.normal(key_p, (len(gates), hidden_size), jnp.float32) * 0.1
        return LSTMVariantParams(
            w_x=draw(w_x_init, key_x, input_size, hidden_size, blocks=len(blocks)),
            w_h=draw(w_h_init, key_h, hidden_size, hidden_size, blocks=len(blocks)),
            b=jnp.concatenate([bias[name] for name in blocks]),
            peepholes=peep.astype(param_dtype) if peepholes else None,
            w_gates=between,
        )

    def initial_state(
        params: LSTMVariantParams, batch_shape: Sequence[int] = ()
    ) -> LSTMVariantState:
        of = state_dtype(dtype or params.w_h.dtype)
        zeros = jnp.zeros((*batch_shape, hidden_size), of)
        last = jnp.zeros((*batch_shape, len(gates) * hidden_size), of) if gate_recurrence else None
        return LSTMVariantState(zeros, zeros, last)

    def project(params: LSTMVariantParams, state: LSTMVariantState, x_t: Array) -> Array:
        check_last_axis("lstm_variant", "x_t", x_t, params.w_x.shape[0])
        of = dtype or params.w_x.dtype
        result = matmul(x_t, params.w_x, dtype=of) + matmul(state.h, params.w_h, dtype=of)
        result = result + lift(params.b.astype(result.dtype), result)
        if params.w_gates is None or state.gates is None:
            return result
        between = matmul(state.gates, params.w_gates, dtype=of)
        more = dict(zip(gates, _split(between, gates), strict=True))
        parts = dict(zip(blocks, _split(result, blocks), strict=True))
        return jnp.concatenate(
            [parts[n] + more.get(n, jnp.zeros((), result.dtype)) for n in blocks], -1
        )

    def gate_values(params: LSTMVariantParams, state: LSTMVariantState, pre: Array) -> GateValues:
        inputs = dict(zip(blocks, _split(pre.astype(state.c.dtype), blocks), strict=True))
        candidates = {"g": ACTIVATIONS[candidate](inputs["g"])}
        opened: dict[str, Array] = {}

        def share(name: str, c: Array) -> Array:
            """Returns the values of a gate that reads the cell state c; 1 without the gate."""
            if name not in inputs:
                return jnp.ones_like(c)
            if params.peepholes is not None:
                weight = params.peepholes[gates.index(name)].astype(c.dtype)
                inputs[name] = inputs[name] + lift(weight, c) * c
            opened[name] = GATES[gate](inputs[name])
            return opened[name]

        i = share("i", state.c)
        f = 1 - i if coupled else share("f", state.c)
        share("o", f * state.c + i * candidates["g"])
        return GateValues(opened, candidates, f, inputs)

    def update(
        params: LSTMVariantParams, state: LSTMVariantState, pre: Array
    ) -> tuple[LSTMVariantState, Array]:
        opened, candidates, *_ = gate_values(params, state, pre)
        f = 1 - opened["i"] if coupled else opened.get("f", 1)
        c = f * state.c + opened.get("i", 1) * candidates["g"]
        h = opened.get("o", 1) * ACTIVATIONS[output](c)
        last = jnp.concatenate([opened[n] for n in gates], -1) if gate_recurrence else None
        return LSTMVariantState(h, c, last), h.astype(dtype or params.w_x.dtype)

    return make_cell(init, initial_state, (project, update), gates=(gate_values,))


def _split(array: Array, names: Sequence[str]) -> list[Array]:
    return jnp.split(array, len(names), axis=-1)


def _check_name(option: str, name: str, known: dict[str, Any]) -> None:
    if name not in known:
        raise ValueError(
            f"lstm_variant: {option}: got {name!r}, expected one of {', '.join(known)}"
        )
