"""Flax's `RNN` with the drivers of this library."""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.scope import in_filter
from flax.linen import module as flax_module

from seqmodels.drivers.auto import find_driver
from seqmodels.drivers.contract import fill_padding, tree_where, zero_unless
from seqmodels.flax_shared.cells import FlaxWeights
from seqmodels.flax_shared.sequences import clean_lengths, flip, last_carry
from seqmodels.flax_shared.vmapped import Sequences, unroll_vmapped
from seqmodels.linen.known_cells import known_cell
from seqmodels.types import Array, Cell, Driver

_FlaxRNN = nn.RNN
# Without Flax's wrapper, which would record the call a second time for `capture_intermediates`.
_flax_call = getattr(_FlaxRNN.__call__, "__wrapped__", _FlaxRNN.__call__)


class _Options(NamedTuple):
    """The options of one call, each given to the call or to the constructor."""

    return_carry: bool
    time_major: bool
    reverse: bool
    keep_order: bool


class _Call(NamedTuple):
    """The arrays of one call; batch axes stand before the time axis, or after it if time-major.

    inputs: the inputs. carry: the carry before the first step. lengths: int (*batch), or None.
    """

    inputs: Array
    carry: Any
    lengths: Array | None


class RNN(_FlaxRNN):
    """`flax.linen.RNN` at the speed of `sm.unroll`: same arguments, parameters and results.

    A cell of Flax's classes `SimpleCell`, `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` or `MGUCell`
    is run through time by a driver of this library. Any other cell, also a subclass of these, is
    run by Flax. Flax makes the parameters in either case, so that names, initial values and
    checkpoints are Flax's. Flax also runs the cell in three other cases. Its single calls are
    observed (`capture_intermediates`, `nn.intercept_methods`, `nn.tabulate`). An activation
    function mixes entries or has parameters. Or `variable_axes`, `variable_broadcast` or
    `variable_carry` do not share "params" between steps. `unroll` has an effect only where Flax
    runs the cell.

    Results differ from Flax's where those are wrong or an error. At length 0 the carry is the
    initial carry. Lengths are clipped to 0..T, and T may be 0. Lengths together with a carry work
    with any number of batch axes.

    Attributes:
      method: how a driver of this library runs the cell, see `sm.unroll`; it has no effect where
        Flax runs the cell.
      zero_padding: False computes outputs in the padding as Flax does, from the padded inputs. True
        makes them zero, and NaN in the padded inputs then affects neither outputs nor gradients.

    Examples:
      >>> model = RNN(nn.LSTMCell(4))
      >>> variables = model.init(jax.random.key(0), jnp.ones((2, 5, 3)))  # (B, T, D)
      >>> model.apply(variables, jnp.ones((2, 5, 3))).shape
      (2, 5, 4)
    """

    method: str | Driver = "auto"
    zero_padding: bool = False

    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs the cell through time.

        Args:
          inputs: (*batch, T, D), or (T, *batch, D) if time-major; D stands for one or more feature
            axes.
          initial_carry: the carry before the first step, leaves (*batch, ...); None for that of
            `cell.initialize_carry`.
          init_key: key for `cell.initialize_carry`; None for `jax.random.key(0)`.
          seq_lengths: int (*batch), the number of valid steps of each sequence.
          return_carry: overrides the attribute of this name.
          time_major: overrides the attribute of this name.
          reverse: overrides the attribute of this name.
          keep_order: overrides the attribute of this name.

        Returns:
          The outputs of the cell, with the time axis of the inputs. They are in the order of
          processing, or of the inputs if `keep_order`. With `return_carry` a pair (carry, outputs),
          with the carry after the last valid step.

        Raises:
          ValueError: if `method` is not known.
          TypeError: if the driver of `method` cannot run the cell.
        """
        find_driver(self.method)
        given = (return_carry, time_major, reverse, keep_order)
        own = (self.return_carry, self.time_major, self.reverse, self.keep_order)
        options = _Options(*(o if g is None else g for g, o in zip(given, own, strict=True)))
        features = self.cell.num_feature_axes
        if not hasattr(inputs, "dtype") or inputs.ndim <= features:
            return self._run_flax(_Call(inputs, initial_carry, seq_lengths), options, init_key)
        xs = jnp.asarray(inputs)
        time_axis = 0 if options.time_major else xs.ndim - features - 1
        x_t = jax.ShapeDtypeStruct((*xs.shape[:time_axis], *xs.shape[time_axis + 1 :]), xs.dtype)
        batch_shape = x_t.shape[: len(x_t.shape) - features]
        lengths = seq_lengths
        if seq_lengths is not None:
            lengths = clean_lengths(seq_lengths, xs.shape[time_axis], batch_shape)
            if lengths is None:  # Flax's error, or its broadcasting
                call = _Call(inputs, initial_carry, seq_lengths)
                return self._run_flax(call, options, init_key)
        carry = initial_carry
        if carry is None:
            key = jax.random.key(0) if init_key is None else init_key
            carry = self.cell.initialize_carry(key, x_t.shape)
        call = _Call(xs, carry, lengths)
        known = self._known_cell(carry, x_t)
        if known is None:
            carry, ys = self._run_clean(call, options, batch_shape)
        else:
            carry, ys = self._run_known(known, call, options, time_axis)
        return (carry, ys) if options.return_carry else ys

    def _known_cell(self, carry: Any, x_t: jax.ShapeDtypeStruct) -> tuple[Cell, FlaxWeights] | None:
        """Returns the cell and its weights; None if Flax must run it."""
        if self.scope is None or self.is_initializing() or _calls_are_observed(self):
            return None
        is_shared = in_filter(self.variable_broadcast, "params")
        other = (self.variable_carry, *self.variable_axes)
        if not is_shared or any(in_filter(axes, "params") for axes in other):
            return None
        return known_cell(self.cell, jax.tree.map(_as_array, carry), x_t)

    def _run_known(
        self,
        known: tuple[Cell, FlaxWeights],
        call: _Call,
        options: _Options,
        time_axis: int,
    ) -> tuple[Any, Array]:
        """Returns (carry, outputs) by a driver of this library."""
        cell, weights = known
        xs, lengths = jnp.moveaxis(call.inputs, time_axis, 0), call.lengths
        carry = jax.tree.map(_as_array, call.carry)
        run = functools.partial(unroll_vmapped, cell, weights, method=self.method)
        if lengths is None or self.zero_padding:
            final, ys, _ = run(Sequences(xs, carry, lengths), reverse=options.reverse)
            if options.reverse and not options.keep_order:
                ys = flip(ys, lengths)
        else:
            # As in Flax, the recurrence runs through the padding, and the carry is picked later.
            xs = flip(xs, lengths) if options.reverse else xs
            final, ys, states = run(Sequences(xs, carry, None), states=options.return_carry)
            if options.return_carry:
                final = last_carry(states, lengths, carry)
            if options.reverse and options.keep_order:
                ys = flip(ys, lengths)
        return final, jnp.moveaxis(ys, 0, time_axis)

    def _run_flax(self, call: _Call, options: _Options, init_key: Any = None) -> Any:
        """Returns the result in the form of Flax."""
        return _flax_call(
            self,
            call.inputs,
            initial_carry=call.carry,
            init_key=init_key,
            seq_lengths=call.lengths,
            **options._asdict(),
        )

    def _run_clean(
        self, call: _Call, options: _Options, batch_shape: tuple[int, ...]
    ) -> tuple[Any, Any]:
        """Returns (carry, outputs) of Flax, but right at length 0, at T = 0, for any batch axes.

        The carry is None if it was not asked for.
        """
        time_axis = 0 if options.time_major else len(batch_shape)
        num_steps, lengths = call.inputs.shape[time_axis], call.lengths
        if lengths is None or num_steps == 0:
            result = self._run_flax(call._replace(lengths=None), options)
            return result if options.return_carry else (None, result)
        valid = _is_valid(lengths, num_steps, time_axis)
        if self.zero_padding:
            call = call._replace(inputs=fill_padding(valid, call.inputs))
        if not options.return_carry:
            carry, ys = None, self._run_flax(call, options)
        elif len(batch_shape) == 1:
            carry, ys = self._run_flax(call, options)
        else:
            flat = call._replace(lengths=jnp.ravel(lengths))
            carry, ys = self._run_flat(flat, options, batch_shape)
        if options.return_carry:
            initial = jax.tree.map(jnp.asarray, call.carry)
            carry = tree_where(jnp.greater(lengths, 0), carry, initial)
        return carry, zero_unless(valid, ys) if self.zero_padding else ys

    def _run_flat(
        self, call: _Call, options: _Options, batch_shape: tuple[int, ...]
    ) -> tuple[Any, Any]:
        """Returns Flax's (carry, outputs) with all batch axes as one, as the flat lengths are."""
        num_axes, at = len(batch_shape), 1 if options.time_major else 0

        def flatten(a: Array, at: int = 0) -> Array:
            return a.reshape((*a.shape[:at], math.prod(batch_shape), *a.shape[at + num_axes :]))

        def restore(a: Array, at: int = 0) -> Array:
            return a.reshape((*a.shape[:at], *batch_shape, *a.shape[at + 1 :]))

        carry = jax.tree.map(flatten, call.carry)
        flat = call._replace(inputs=flatten(call.inputs, at), carry=carry)
        carry, ys = self._run_flax(flat, options)
        return jax.tree.map(restore, carry), jax.tree.map(lambda a: restore(a, at), ys)


def _is_valid(lengths: Array, num_steps: int, time_axis: int) -> Array:
    """Returns bool (*batch, T), or (T, *batch), true at the steps t < lengths."""
    steps = jnp.arange(num_steps)
    steps = steps.reshape((1,) * time_axis + (-1,) + (1,) * (lengths.ndim - time_axis))
    return steps < jnp.expand_dims(lengths, time_axis)


def _as_array(leaf: Any) -> Any:
    return jnp.asarray(leaf) if hasattr(leaf, "dtype") else leaf


def _calls_are_observed(module: nn.Module) -> bool:
    """Returns whether someone records or intercepts the calls of single modules."""
    context = getattr(flax_module, "_context", None)
    if context is None:
        return module.is_mutable_collection("intermediates")
    is_captured = bool(context.capture_stack) and bool(context.capture_stack[-1])
    interceptors = getattr(flax_module, "_global_interceptor_stack", ())
    return is_captured or bool(context.call_info_stack) or bool(interceptors)
