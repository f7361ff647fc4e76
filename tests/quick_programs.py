"""Settings under which programs compile quickly, here and in processes that tests start."""

import os

import jax

# Half of the compiler's time goes to kernels of fusions; the older emitters take a quarter of it.
# XLA has them no more from JAX 0.11 on, where an unknown option is an error.
HAS_OLD_EMITTERS = jax.__version_info__ < (0, 11)
OLD_EMITTERS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


def environment():
    """Returns the environment of a process whose programs are those of this one, bit for bit."""
    found = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    if HAS_OLD_EMITTERS:
        flags = [f"--{name}={str(value).lower()}" for name, value in OLD_EMITTERS.items()]
        found["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()
    return found
