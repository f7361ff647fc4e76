import os

import jax

# Before any array is made: four devices for the tests of meshes, on any machine.
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ.setdefault("MPLBACKEND", "agg")
