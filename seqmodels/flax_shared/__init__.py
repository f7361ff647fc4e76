"""Code shared by `seqmodels.linen` and `seqmodels.nnx`; it does not import Flax."""
