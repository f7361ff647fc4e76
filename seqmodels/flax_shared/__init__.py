"""What `seqmodels.linen` and `seqmodels.nnx` share; nothing here imports Flax."""
