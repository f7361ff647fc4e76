"""Flax's `Bidirectional`, by the same import as `RNN`."""

import flax.linen as nn


class Bidirectional(nn.Bidirectional):
    """`flax.linen.Bidirectional`; its two RNNs run as they are.

    Two `seqmodels.linen.RNN` run by the drivers of this library. As in Flax, the pair decides about
    `time_major`, `reverse`, `keep_order` and `return_carry` of both RNNs, and ignores `reverse` and
    `keep_order` given to itself.

    Examples:
      >>> rnns = [seqmodels.linen.RNN(seqmodels.linen.GRUCell(16)) for _ in range(2)]
      >>> model = seqmodels.linen.Bidirectional(*rnns)
      >>> variables = model.init(jax.random.key(0), jnp.ones((4, 9, 3)))
    """
