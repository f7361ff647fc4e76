import gc
import itertools
import os
import pathlib

import chex
import jax
import pytest
from quick_programs import HAS_OLD_EMITTERS, OLD_EMITTERS

from seqmodels.cells import products

# Before any array is made: four devices for the tests of meshes, on any machine.
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Most tests wait for the compiler; `_optimizations` below turns them on where they matter.
jax.config.update("jax_disable_most_optimizations", True)
os.environ.setdefault("MPLBACKEND", "agg")

# Tracing makes many objects and few cycles: Python's own 700 cost 8 % of the time.
gc.set_threshold(20_000, 50, 50)

HERE = pathlib.Path(__file__).parent
# Files that take longest, the longest first, so that the workers end together.
LONGEST = (
    "drivers/test_contract.py",
    "drivers/test_transformations.py",
    "docs/test_pages.py",
    "drivers/test_contract_shapes.py",
    "drivers/test_fused.py",
    "drivers/test_newton.py",
    "drivers/test_chunked.py",
    "drivers/test_associative.py",
    "drivers/test_unroll.py",
    "drivers/test_cudnn.py",
    "experiments/test_forecasting.py",
    "experiments/test_benchmark.py",
    "experiments/test_long_context.py",
    "training/test_fit.py",
)

MAPS = pathlib.Path("/proc/self/maps")
MOST_MAPS = 25_000
TESTS_BETWEEN_LOOKS = 10
_done = itertools.count(1)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """A file is one group, run by one worker, so that what it caches is computed once."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    names = {item: item.path.relative_to(HERE).as_posix() for item in items}
    items.sort(key=lambda item: rank.get(names[item], len(rank)))
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(names[item]))


@pytest.fixture(autouse=True, scope="module")
def _optimizations(request):
    """Turns XLA's optimizations on for modules marked `optimized`, which run as users do."""
    use_optimizations(request.node.get_closest_marker("optimized") is not None)


def use_optimizations(on):
    """Turns XLA's optimizations on or off for all that is compiled from here on.

    The flag is not part of the key of jit's caches, so these are dropped when it changes.
    """
    if jax.config.read("jax_disable_most_optimizations") == on:
        jax.config.update("jax_disable_most_optimizations", not on)
        clear_caches()


def _compile_with_old_emitters():
    """Adds options to every program that is compiled while the optimizations are off.

    `jit` takes such options for one function; for all of them JAX has XLA_FLAGS only, which would
    also hold where the optimizations are on.
    """
    from jax._src import compiler  # not public: imported only for the releases that it is known in

    get_compile_options = compiler.get_compile_options

    def with_options(*args, env_options_overrides=None, **kwargs):
        if jax.config.read("jax_disable_most_optimizations"):
            env_options_overrides = OLD_EMITTERS | dict(env_options_overrides or {})
        return get_compile_options(*args, env_options_overrides=env_options_overrides, **kwargs)

    compiler.get_compile_options = with_options


if HAS_OLD_EMITTERS:
    _compile_with_old_emitters()


def clear_caches():
    """Drops what was compiled, so that functions are traced again and chex may count anew."""
    jax.clear_caches()
    gc.collect()  # programs in cycles keep their memory maps until then
    chex.clear_trace_counter()


@pytest.fixture
def low_products(monkeypatch):
    """Products in bfloat16 run as such on any CPU, small ones too."""
    monkeypatch.setattr(products, "is_fast_on_cpu", lambda dtype: dtype == "bfloat16")
    monkeypatch.setattr(products, "MIN_PRODUCTS", 0)


@pytest.fixture
def switch():
    """The function `use_optimizations`; what the module runs with comes back after the test."""
    before = not jax.config.read("jax_disable_most_optimizations")
    yield use_optimizations
    use_optimizations(before)


@pytest.fixture(autouse=True)
def _compiled_programs_do_not_pile_up():
    """Each takes a few memory maps; at Linux's 65,530 a process, after some 700 tests, it dies."""
    yield
    look = next(_done) % TESTS_BETWEEN_LOOKS == 0 and MAPS.exists()
    if look and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        clear_caches()
