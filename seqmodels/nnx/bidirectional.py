"""`Bidirectional`: Flax's NNX module over two `RNN`s of this library."""

from typing import Any

import flax.nnx
import jax
from flax.nnx import Rngs, RngStream

from seqmodels.nnx.rnn import RNN


class Bidirectional(flax.nnx.Bidirectional):
    """`flax.nnx.Bidirectional`: the same arguments, graph, state and results.

    Over two `RNN`s of this library a call keeps no history of carries unless it returns them. Over
    other modules it is Flax's own call. The `RNN`s inside decide on drivers and on padding.

    Examples:
      >>> from flax import nnx
      >>> from seqmodels.nnx.rnn import RNN
      >>> forward, backward = (RNN(nnx.GRUCell(3, 4, rngs=nnx.Rngs(seed))) for seed in (0, 1))
      >>> pair = Bidirectional(forward, backward)
      >>> pair(jnp.ones((2, 5, 3)), seq_lengths=jnp.array([3, 5])).shape
      (2, 5, 8)
    """

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: tuple[Any, Any] | None = None,
        rngs: Rngs | RngStream | None = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs one module forward and the other backward and merges their outputs by `merge_fn`.

        Args:
          inputs: (*batch, T, ...), or (T, *batch, ...) with `time_major`.
          initial_carry: pair of carries (forward, backward); None for those of the cells.
          rngs: `Rngs`, whose carry stream both modules draw from, or an `RngStream`; None for the
            module's own.
          seq_lengths: int (*batch), the number of valid steps of each sequence.
          return_carry: whether to return the carries; None for the constructor's value, and so for
            `time_major`.
          time_major: whether the first axis is time.
          reverse: not used, as in Flax.
          keep_order: not used, as in Flax.

        Returns:
          Merged outputs; with `return_carry` the pair ((carry_forward, carry_backward), outputs).
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        pair = (self.forward_rnn, self.backward_rnn)
        shared = pair[0] is pair[1]  # Flax warns of it
        if return_carry or shared or not all(type(rnn) is RNN for rnn in pair):
            return super().__call__(
                inputs,
                initial_carry=initial_carry,
                rngs=rngs,
                seq_lengths=seq_lengths,
                return_carry=return_carry,
                time_major=time_major,
            )
        rngs = self.rngs if rngs is None else rngs
        stream = rngs.carry if isinstance(rngs, Rngs) else rngs
        carries = (None, None) if initial_carry is None else initial_carry
        outputs = [
            rnn(
                inputs,
                initial_carry=carry,
                rngs=stream,
                seq_lengths=seq_lengths,
                return_carry=False,
                time_major=time_major,
                reverse=backward,
                keep_order=True if backward else None,
            )
            for rnn, carry, backward in zip(pair, carries, (False, True), strict=True)
        ]
        return jax.tree.map(self.merge_fn, *outputs)
