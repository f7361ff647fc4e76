"""Flax's `Bidirectional`, by the same import as `RNN`."""

import flax.linen as nn


class Bidirectional(nn.Bidirectional):
    """`flax.linen.Bidirectional`; its two RNNs run as they are.

    Two `seqmodels.linen.RNN` run by the drivers of this library. As in Flax, the pair decides about
    `time_major`, `reverse`, `keep_order` and `return_carry` of both RNNs, and ignores `reverse` and
    `keep_order` given to itself.

    Examples:
      >>> from seqmodels.linen import GRUCell, RNN
      >>> model, xs = Bidirectional(RNN(GRUCell(4)), RNN(GRUCell(4))), jnp.ones((2, 5, 3))
      >>> model.apply(model.init(jax.random.key(0), xs), xs).shape  # (B, T, 2H)
      (2, 5, 8)
    """
