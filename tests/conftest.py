import itertools
import os
import pathlib

import jax
import pytest

# Before any array is made: four devices for the tests of meshes, on any machine.
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ.setdefault("MPLBACKEND", "agg")

MAPS = pathlib.Path("/proc/self/maps")
MOST_MAPS = 25_000
TESTS_BETWEEN_LOOKS = 10
_done = itertools.count(1)


@pytest.fixture(autouse=True)
def _compiled_programs_do_not_pile_up():
    """Each takes a few memory maps; at Linux's 65,530 a process, after some 700 tests, it dies."""
    yield
    look = next(_done) % TESTS_BETWEEN_LOOKS == 0 and MAPS.exists()
    if look and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
