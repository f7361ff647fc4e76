"""Dropout masks in the states that modules return and take."""

from typing import Any

import jax

from seqmodels.cells.stages import new_state
from seqmodels.combinators.dropout import DropoutState
from seqmodels.types import Cell, Params, State


def is_random(cell: Cell, params: Params) -> bool:
    """Returns whether the cell's initial state depends on its key, as under dropout."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    jaxpr = jax.make_jaxpr(lambda k, p: new_state(cell, p, (1,), k))(key, params).jaxpr
    needed = {v for v in jaxpr.outvars if not hasattr(v, "val")}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(v for v in equation.invars if not hasattr(v, "val"))
    return jaxpr.invars[0] in needed


def with_noise(state: State, fresh: State) -> State:
    """Returns `state` with noise from `fresh`, a new state of the same cell, where it has none.

    Where it has noise, that stays, so that a sequence that is run in pieces has the same masks in
    each of them.
    """

    def take(old: Any, new: Any) -> Any:
        if _is_dropout(old):
            noise = new.noise if old.noise is None else old.noise
            return DropoutState(with_noise(old.cell, new.cell), noise)
        return old

    return jax.tree.map(take, state, fresh, is_leaf=_is_dropout)


def without_noise(state: State) -> State:
    """Returns `state` as a cell without a key has it, under which nothing is dropped."""

    def drop(old: Any) -> Any:
        return DropoutState(without_noise(old.cell), None) if _is_dropout(old) else old

    return jax.tree.map(drop, state, is_leaf=_is_dropout)


def _is_dropout(state: Any) -> bool:
    return isinstance(state, DropoutState)
