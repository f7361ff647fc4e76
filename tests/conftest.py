import itertools
import os

import jax
import pytest

# Before any array is made: four devices for the tests of meshes, on any machine.
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ.setdefault("MPLBACKEND", "agg")

TESTS_BETWEEN_CLEANUPS = 25
_done = itertools.count(1)


@pytest.fixture(autouse=True)
def _compiled_programs_do_not_pile_up():
    """Each takes a few memory maps; at Linux's 65,530 a process, after some 700 tests, it dies."""
    yield
    if next(_done) % TESTS_BETWEEN_CLEANUPS == 0:
        jax.clear_caches()
