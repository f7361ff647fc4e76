"""Cells whose state is a linear recurrence, which can be solved for all steps at once.

    s_t = a_t * s_tm1 + b_t,    y_t = output(s_t, x_t)

The products are elementwise, and a_t, b_t depend on x_t alone. Two consecutive steps are again such
a step, (a_t * a_tm1, a_t * b_tm1 + b_t), which makes a scan over time associative. Blelloch 1990,
"Prefix Sums and Their Applications"; Martin, Cundy 2018, "Parallelizing Linear Recurrent Neural
Nets Over Sequence Length" (arXiv 1709.04057).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.cells.products import matmul
from seqmodels.cells.stages import check_size, lift
from seqmodels.types import Array, Cell, GateValues, Params, State


def make_linear_cell(
    init: Callable[[Array], Params],
    initial_state: Callable[..., State],
    elements: Callable[[Params, Any], tuple[Any, Any]],
    output: Callable[[Params, State, Any], Any] | None = None,
    *,
    gates: Callable[[Params, Any], GateValues] | None = None,
    reset: Callable[[Params, State], State] | None = None,
    x_ndim: int = 1,
) -> Cell:
    """Returns the cell of the linear recurrence that `elements` and `output` declare.

        a_t, b_t = elements(params, x_t)        may hold matrices, as may output
        state = a_t * state + b_t
        y_t = output(params, state, x_t)        of the state after the step

    Both functions must accept any leading axes: a driver calls them on all steps at once, with
    `x_t` of shape (T, *batch, D) and a state with leaves (T, *batch, ...).

    Args:
      init: `init(key) -> params`.
      initial_state: `initial_state(params, batch_shape) -> state`, leaves of shape (*batch, ...);
        it may also take `key=None`.
      elements: `elements(params, x_t) -> (a_t, b_t)`, each a pytree like the state or a prefix of
        it; leaves are broadcast to the leaves of the state.
      output: `output(params, state, x_t) -> y_t`; None: y_t is the state.
      gates: `gates(params, x_t) -> GateValues`, which names what `elements` computes; None: the
        names are a and b. See `Cell.gates`.
      reset: `reset(params, state) -> state`; None for the cell's own initial state.
      x_ndim: the number of feature axes of `x_t`.

    Returns:
      A `Cell`.

    Raises:
      TypeError: if an argument is not callable.
      ValueError: if `x_ndim` is not a positive integer.

    Examples:
      >>> cell = sm.make_linear_cell(  # an exponential moving average with a learned decay
      ...     lambda key: jnp.full(3, 0.9),
      ...     lambda decay, batch_shape: jnp.zeros((*batch_shape, 3)),
      ...     lambda decay, x_t: (jnp.broadcast_to(decay, x_t.shape), (1 - decay.mean()) * x_t),
      ... )
      >>> state, ys = sm.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 3)
    """
    if not all(map(callable, (init, initial_state, elements))) or not all(
        function is None or callable(function) for function in (output, reset, gates)
    ):
        raise TypeError(
            "make_linear_cell: init, initial_state, elements, output, gates and reset: expected "
            "functions"
        )
    check_size("make_linear_cell", x_ndim=x_ndim)
    read = output or _return_state

    def step(params: Params, state: State, x_t: Any) -> tuple[State, Any]:
        state = linear_step(*linear_elements(elements, params, x_t, state), state)
        return state, read(params, state, x_t)

    def of_step(params: Params, state: State, x_t: Any) -> GateValues:
        del state
        assert gates is not None
        return gates(params, x_t)

    return Cell(
        init,
        initial_state,
        step,
        elements=elements,
        output=read,
        reset=reset,
        x_ndim=x_ndim,
        gates=() if gates is None else of_step,
    )


def _return_state(params: Params, state: State, x_t: Any) -> State:
    del params, x_t
    return state


def linear_step(a_t: Any, b_t: Any, state: State) -> State:
    """Returns a_t * state + b_t."""
    return jax.tree.map(lambda a, b, s: a * s + b, a_t, b_t, state)


def linear_elements(
    elements: Callable[[Params, Any], tuple[Any, Any]], params: Params, x_t: Any, like: State
) -> tuple[State, State]:
    """Returns `elements(params, x_t)` with the structure of `like` and as many axes.

    Args:
      elements: see `make_linear_cell`.
      params: its parameters.
      x_t: the inputs, of one step or of many.
      like: a state, or its shapes, with the leading axes of `x_t`.

    Returns:
      (a_t, b_t), pytrees like `like`; an axis may be of size 1 where the axis of `like` is longer.

    Raises:
      ValueError: if a result of `elements` cannot be broadcast to `like`.
    """
    pair = elements(params, x_t)
    if not isinstance(pair, tuple) or len(pair) != 2:
        shapes = jax.tree.map(jnp.shape, pair)
        raise ValueError(f"elements: got shapes {shapes}, expected a pair (a_t, b_t)")
    a_t, b_t = (_fit_to_state(name, t, like) for name, t in zip(("a_t", "b_t"), pair, strict=True))
    return a_t, b_t


def _fit_to_state(name: str, tree: Any, like: State) -> State:
    def fit(given: Any, want: Any) -> Array:
        given = jnp.asarray(given)
        padded = (1,) * (want.ndim - given.ndim) + given.shape
        if len(padded) != want.ndim or any(
            n not in (1, m) for n, m in zip(padded, want.shape, strict=True)
        ):
            raise ValueError(
                f"elements: {name}: got shape {given.shape}, expected one that can be broadcast "
                f"to the state's {want.shape}"
            )
        return given.reshape(padded)

    try:
        tree = jax.tree.broadcast(tree, like)
    except ValueError:
        given, expected = jax.tree.structure(tree), jax.tree.structure(like)
        raise ValueError(f"elements: {name}: got {given}, expected {expected}") from None
    return jax.tree.map(fit, tree, like)


def input_gates(w_x: Array, b: Array, x_t: Array, dtype: Any) -> Array:
    """Returns x_t W_x + b: operands in `dtype`, or that of `w_x` if None; the sums in float32.

    So the gradient of `b`, a sum over all steps at once, is accumulated in float32 on any backend.
    """
    gates = matmul(x_t, w_x, dtype=dtype or w_x.dtype)
    return gates + lift(b.astype(gates.dtype), gates)


def positive_candidate(n: Array) -> Array:
    """Returns g(n) = n + 1/2 where n >= 0, sigmoid(n) elsewhere: positive and continuous.

    Feng et al. 2024 (arXiv 2410.01201), appendix B.
    """
    return jnp.where(n >= 0, n + 0.5, jax.nn.sigmoid(n))
