"""A Linen module for any `sm.Cell`: batch-major sequences, parameters in Flax's variables."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seqmodels.flax_shared.batch_major import unroll_batch_major
from seqmodels.flax_shared.noise import is_random
from seqmodels.types import Array, Cell, Driver, Params, State


class SequenceModule(nn.Module):
    """The base of Linen modules that unroll a `Cell`; a subclass says which one.

    A subclass has the fields `time_major`, `method` and `deterministic`.
    """

    @nn.nowrap
    def build(self, input_size: int) -> Cell:
        """Returns the cell to unroll, the same object for the same fields."""
        raise NotImplementedError

    @nn.compact
    def __call__(
        self,
        inputs: Any,
        *,
        lengths: Any = None,
        mask: Any = None,
        hold_outputs: bool = False,
        resets: Any = None,
        initial_state: State | None = None,
        return_state: bool = False,
        reverse: bool = False,
        deterministic: bool | None = None,
    ) -> Any:
        """Runs the cell through time, see `sm.unroll`.

        Args:
          inputs: (*batch, T, D), or (T, *batch, D) if time-major.
          lengths: int (*batch), the number of valid steps of each sequence.
          mask: bool (*batch, T), or (T, *batch) if time-major: the steps that count.
          hold_outputs: whether the output of a masked step repeats the last valid one.
          resets: bool like `mask`: where true the state is replaced before the step.
          initial_state: the state before the first step; None for the cell's own. The masks of
            dropout that it holds are used again where the call has dropout.
          return_state: whether to return the state after the last valid step too.
          reverse: whether time runs from the last step to the first. Outputs stay at the place of
            their inputs.
          deterministic: True turns dropout off. False takes its key from the stream "dropout". None
            for the attribute; if that is None too, there is dropout if there is such a stream.

        Returns:
          ys (*batch, T, H), zero in the padding, or (T, *batch, H) if time-major; with
          `return_state` a pair (state, ys).

        Raises:
          ValueError: if an argument has a wrong shape or dtype.
        """
        inputs = jnp.asarray(inputs)
        cell = self.build(inputs.shape[-1])
        fields: Any = self
        params = _flax_params(self, cell)
        if deterministic is None:
            deterministic = fields.deterministic
        state, ys = unroll_batch_major(
            cell,
            params,
            inputs,
            initial_state,
            self._dropout_key(cell, params, deterministic),
            time_major=fields.time_major,
            lengths=lengths,
            mask=mask,
            hold_outputs=hold_outputs,
            resets=resets,
            reverse=reverse,
            method=fields.method,
        )
        return (state, ys) if return_state else ys

    @nn.nowrap
    def _dropout_key(self, cell: Cell, params: Params, deterministic: bool | None) -> Array | None:
        if deterministic or not (self.has_rng("dropout") or is_random(cell, params)):
            return None
        if deterministic is None and not self.has_rng("dropout"):
            return None
        key = self.make_rng("dropout")
        is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        return key if is_typed else jax.random.wrap_key_data(key)


class CellModule(SequenceModule):
    """The module that `wrap` returns. Attributes as the arguments of `wrap`."""

    cell: Cell
    time_major: bool = False
    method: str | Driver = "auto"
    deterministic: bool | None = None

    @nn.nowrap
    def build(self, input_size: int) -> Cell:
        """Returns the cell."""
        del input_size
        return self.cell


def wrap(
    cell: Cell,
    *,
    time_major: bool = False,
    method: str | Driver = "auto",
    deterministic: bool | None = None,
    name: str | None = None,
) -> CellModule:
    """Returns a Linen module that unrolls a cell: the library's own, a stack, or one of yours.

    Its parameters have the names of the fields of the cell's parameters, such as `params/w_x`. The
    entries of a tuple, such as the layers of a stack, are `layer_0`, `layer_1`, ...

    Args:
      cell: a `Cell`.
      time_major: whether sequences are (T, *batch, D) and not (*batch, T, D).
      method: see `sm.unroll`.
      deterministic: True turns dropout off, False on; None: on if there is a stream "dropout".
      name: the name of the module.

    Returns:
      A module; its call takes `lengths`, `mask`, `resets`, `initial_state`, `return_state` and
      `reverse`, see `SequenceModule.__call__`.

    Raises:
      TypeError: if `cell` is not a `Cell`.

    Examples:
      >>> model = wrap(sm.stack([sm.lstm(3, 4), sm.gru(4, 4)]))
      >>> variables = model.init(jax.random.key(0), jnp.ones((2, 5, 3)))  # (B, T, D)
      >>> model.apply(variables, jnp.ones((2, 5, 3))).shape
      (2, 5, 4)
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"wrap: cell: got a {type(cell).__name__}, expected a Cell")
    return CellModule(cell, time_major, method, deterministic, name=name)


def _flax_params(module: nn.Module, cell: Cell) -> Params:
    """Returns the cell's parameters, kept in the module's collection "params".

    All come from one call of `cell.init`.
    """
    template = jax.eval_shape(cell.init, jax.eval_shape(lambda: jax.random.key(0)))
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    paths = [_names(path) for path, _ in leaves]
    nested = functools.partial(_nest, paths)
    tops = list(dict.fromkeys(path[0] for path in paths))
    fresh: dict[str, Any] = {}
    is_missing = any(not module.has_variable("params", top) for top in tops)
    if is_missing and module.is_mutable_collection("params"):
        fresh = nested(jax.tree.leaves(cell.init(module.make_rng("params"))))
    shapes = nested([leaf for _, leaf in leaves])

    def init(top: str) -> Callable[[Array], Any]:
        def init_top(key: Array) -> Any:
            del key
            if top in fresh:
                return fresh[top]
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[top])

        return init_top

    values = {top: module.param(top, init(top)) for top in tops}
    return jax.tree.unflatten(structure, [_at(values, path) for path in paths])


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """Returns a leaf's names: fields and keys as they are, places in a tuple as `layer_0`, ..."""
    if not path:
        return ("value",)
    return tuple(
        f"layer_{entry.idx}"
        if isinstance(entry, jax.tree_util.SequenceKey)
        else jax.tree_util.keystr((entry,), simple=True)
        for entry in path
    )


def _nest(paths: list[tuple[str, ...]], values: list[Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in zip(paths, values, strict=True):
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
    return tree


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree
