"""`RNN`: Flax's NNX module, with Flax's own cells run by the drivers of this library."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.nnx
import jax
import jax.numpy as jnp
from flax.nnx import Rngs, RngState, RngStream, StateAxes

from seqmodels.drivers.auto import find_driver
from seqmodels.drivers.contract import fill_padding, tree_where, valid_steps, zero_unless
from seqmodels.drivers.reshape import merge_batch, split_batch
from seqmodels.flax_shared.sequences import clean_lengths, flip, last_carry
from seqmodels.flax_shared.vmapped import Sequences, unroll_vmapped
from seqmodels.nnx.known_cells import KnownCell, ReadyCell, make_ready, read_cell
from seqmodels.types import Array, Driver, State


class RNN(flax.nnx.RNN):
    """`flax.nnx.RNN` in a faster form: the same arguments, graph, state and results.

    A driver of this library runs exactly Flax's `SimpleCell`, `LSTMCell`, `OptimizedLSTMCell` and
    `GRUCell`, with the parameters that their layers have at the call. Flax runs any other cell:
    subclasses, cells with replaced layers such as `LoRALinear`, with activations that hold or close
    over state, or with parameters that vary over time (`state_axes`). Streams of random numbers
    advance as in Flax.

    The results differ from Flax's where Flax is wrong:

    - a sequence of length 0 keeps its initial carry; T = 0 works with `seq_lengths`;
    - a length above T counts as T;
    - `seq_lengths` with `return_carry` works with any number of batch axes;
    - if the steps of a known cell return a carry of a wider dtype than the initial one, it starts
      with that dtype, such as a `SimpleCell` in bfloat16;
    - `rngs` may be an `RngStream`, which is forked; with `rngs=False` a known cell without
      `carry_init` starts with zeros;
    - complex inputs of a known cell with a real `dtype` raise ValueError and do not lose their
      imaginary part;
    - `nnx.capture(..., method_outputs=...)` works, but sees nothing inside a known cell.

    Args:
      cell: see `flax.nnx.RNN`.
      method: the driver of a known cell, see `sm.unroll`; not used by other cells.
      zero_padding: what `seq_lengths` does to outputs. False: as in Flax, the recurrence runs on in
        the padding and a NaN there makes gradients NaN. True: outputs in the padding are zero, and
        padded inputs have no effect even if they are NaN.
      rngs: see `flax.nnx.RNN`.
      **options: `time_major`, `return_carry`, `reverse`, `keep_order`, `unroll` (not used by a
        driver), `state_axes` and `broadcast_rngs` of `flax.nnx.RNN`.

    Raises:
      ValueError: if `method` is not known.

    Examples:
      >>> from flax import nnx
      >>> rnn = RNN(nnx.LSTMCell(3, 4, rngs=Rngs(0)), return_carry=True)
      >>> (c, h), ys = rnn(jnp.ones((2, 5, 3)), seq_lengths=jnp.array([3, 5]))
      >>> c.shape, ys.shape
      ((2, 4), (2, 5, 4))
    """

    method: str | Driver
    zero_padding: bool

    def __init__(
        self,
        cell: Any,
        *,
        method: str | Driver = "auto",
        zero_padding: bool = False,
        rngs: Rngs | RngStream | bool = True,
        **options: Any,
    ):
        find_driver(method)  # raises ValueError if it is not known
        state_axes = options.get("state_axes")
        if isinstance(state_axes, Mapping) and not isinstance(state_axes, StateAxes):
            options["state_axes"] = StateAxes(state_axes)
        is_stream = isinstance(rngs, RngStream)
        super().__init__(cell, rngs=False if is_stream else rngs, **options)
        if isinstance(rngs, RngStream):
            self.rngs = rngs.fork()
        self.method = method
        self.zero_padding = zero_padding

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: Any = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: Rngs | RngStream | None = None,
    ) -> Any:
        """Runs the cell over a sequence; see `flax.nnx.RNN`.

        Args:
          inputs: (*batch, T, ...), or (T, *batch, ...) with `time_major`.
          initial_carry: the carry before the first step; None for the cell's own, drawn from
            `rngs`.
          seq_lengths: int (*batch), the number of valid steps of each sequence.
          return_carry: whether to return the carry; None for the constructor's value, and so for
            the next three.
          time_major: whether the first axis is time.
          reverse: whether time runs from the last valid step to the first.
          keep_order: whether outputs of `reverse` stand at the place of their inputs; otherwise
            they are in the order of processing.
          rngs: `Rngs`, whose carry stream is forked, or an `RngStream`; None for the module's own.

        Returns:
          Outputs (*batch, T, ...), or (T, *batch, ...) with `time_major`; with `return_carry` the
          pair (carry, outputs).

        Raises:
          ValueError: if `seq_lengths` has a wrong shape or dtype and `zero_padding` is true.
        """
        options = _Options(
            return_carry=bool(self.return_carry if return_carry is None else return_carry),
            time_major=bool(self.time_major if time_major is None else time_major),
            reverse=bool(self.reverse if reverse is None else reverse),
            keep_order=bool(self.keep_order if keep_order is None else keep_order),
        )
        time_axis = 0 if options.time_major else inputs.ndim - self.cell.num_feature_axes - 1
        shape = inputs.shape[:time_axis] + inputs.shape[time_axis + 1 :]
        batch_shape = shape[: len(shape) - self.cell.num_feature_axes]
        lengths = None
        if seq_lengths is not None:
            lengths = clean_lengths(seq_lengths, inputs.shape[time_axis], batch_shape)
            if lengths is None and self.zero_padding:
                raise ValueError(
                    f"seq_lengths: got shape {jnp.shape(seq_lengths)}, expected integers of shape "
                    f"{batch_shape}"
                )
        known = read_cell(self.cell) if self._is_plain() else None
        unusual = time_axis < 0 or (lengths is None and seq_lengths is not None)
        matter = options.return_carry or options.reverse or self.zero_padding
        if unusual or (known is None and not (lengths is not None and matter)):
            return super().__call__(
                inputs,
                initial_carry=initial_carry,
                seq_lengths=seq_lengths,
                rngs=rngs,
                **options._asdict(),
            )
        stream = self.rngs if rngs is None else rngs
        if isinstance(stream, Rngs):
            stream = stream.carry.fork()  # even if no carry is drawn, as in Flax
        carry = initial_carry
        if carry is None:
            carry = self._initial_carry(known, shape, stream)
        xs = jnp.moveaxis(jnp.asarray(inputs), time_axis, 0)
        sequences = _Sequences(xs, lengths, carry, batch_shape)
        ready = None if known is None else make_ready(known, carry, xs)
        if ready is None:
            final, ys = self._run_flax(sequences, options)
        else:
            final, ys = self._run_driver(ready, sequences, options)
        ys = jax.tree.map(lambda a: jnp.moveaxis(a, 0, time_axis), ys)
        return (final, ys) if options.return_carry else ys

    def _is_plain(self) -> bool:
        """Returns whether the cell's variables are the same at every step."""
        axes = self.state_axes
        if not isinstance(axes, StateAxes) or axes.filters[-1:] not in ((...,), (True,)):
            return False
        if not all(axis is None or axis is flax.nnx.Carry for axis in axes.axes):
            return False
        if self.broadcast_rngs is None or self.broadcast_rngs is False:
            return True
        return not jax.tree.leaves(flax.nnx.state(self.cell, RngState))

    def _initial_carry(
        self, known: KnownCell | None, shape: tuple[int, ...], stream: RngStream | None
    ) -> Any:
        cell: Any = self.cell
        if stream is None and known and cell.rngs is None and cell.carry_init is None:
            stream = RngStream(0, tag="carry")  # zeros do not depend on it
        return cell.initialize_carry(shape, stream)

    def _run_driver(
        self, ready: ReadyCell, sequences: "_Sequences", options: "_Options"
    ) -> tuple[State, Any]:
        xs, lengths, _, _ = sequences
        # Flax's outputs in the padding continue the sequence, so there the driver knows no lengths.
        runs_on = lengths is not None and not self.zero_padding
        flips = options.reverse and runs_on
        inputs = flip(xs, lengths) if flips else xs
        full = unroll_vmapped(
            ready.cell,
            ready.weights,
            Sequences(inputs, ready.state, None if runs_on else lengths),
            reverse=options.reverse and not flips,
            method=self.method,
            states=runs_on and options.return_carry,
        )
        final, ys = full.final_state, full.ys
        if lengths is not None and full.states is not None:
            final = last_carry(full.states, lengths, ready.state)
        if options.reverse and flips == options.keep_order:
            ys = flip(ys, lengths)
        return final, ys

    def _run_flax(self, sequences: "_Sequences", options: "_Options") -> tuple[State, Any]:
        """Returns Flax's result of a forward run over sequences that are already in order."""
        xs, lengths, carry, batch_shape = sequences
        valid = valid_steps(lengths, xs.shape[0])
        if self.zero_padding:
            xs = fill_padding(valid, xs)
        if options.reverse:
            xs = flip(xs, lengths)
        merges = lengths is not None and options.return_carry and len(batch_shape) != 1
        before, num_axes = carry, len(batch_shape)
        if merges:  # Flax selects the last carry along one batch axis
            xs, carry = merge_batch(xs, 1, num_axes), merge_batch(carry, 0, num_axes)
        result = super().__call__(
            xs,
            initial_carry=carry,
            seq_lengths=None if lengths is None or xs.shape[0] == 0 else lengths.reshape(-1),
            return_carry=options.return_carry,
            time_major=True,
            reverse=False,
        )
        final, ys = result if options.return_carry else (None, result)
        if merges:
            final = split_batch(final, 0, batch_shape)
            ys = split_batch(ys, 1, batch_shape)
        if lengths is not None and options.return_carry:
            final = tree_where(lengths > 0, final, before)
        if self.zero_padding:
            ys = zero_unless(valid, ys)
        if options.reverse and options.keep_order:
            ys = flip(ys, lengths)
        return final, ys


class _Options(NamedTuple):
    """Options of one call, see `RNN.__call__`."""

    return_carry: bool
    time_major: bool
    reverse: bool
    keep_order: bool


class _Sequences(NamedTuple):
    """Inputs (T, *batch, ...), lengths (*batch) or None, the carry, and the batch's shape."""

    xs: Array
    lengths: Array | None
    carry: Any
    batch_shape: tuple[int, ...]
