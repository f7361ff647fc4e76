"""Every driver compiles for GPUs and TPUs as far as that needs none: it is lowered for both.

`jax.export` lowers values and gradients for `cuda` and `tpu`. The modules hold no call of a library
that a platform may lack, and the number of loops that the drivers' definitions have.
"""

import functools
import re
import types

import contract_cases as cases
import jax
import jax.numpy as jnp
import pytest
from jax.experimental import rnn
from jax.interpreters import mlir

import seqmodels as sm
from seqmodels.cells import catalog

pytestmark = pytest.mark.optimized

D, H, LOW = cases.D, cases.H, jnp.bfloat16

# Targets of stablehlo.custom_call that may be in a module: operations that XLA itself expands on
# every platform. No driver needs one of them.
ALLOWED = frozenset()

# Settings, T, and the loops (stablehlo.while) of values and of values with gradient.
#
# scan: the loop over time; JAX's own backward loop over time.
# fused, chunks of 3, T = 6: the loop over time; backward the one loop over the 2 chunks, and in its
#   body the loop over the steps of a chunk. Weight gradients are products outside of the latter.
# fused, T = 7: before these, the leftover step is a chunk of its own, a loop over its steps.
# chunked, segments of 64, T = 128: a loop over segments, and in it the loop over time; backward a
#   loop over segments, in it the loop over time once more, then the two of `fused`, since a
#   segment has 2 chunks of 32.
# associative: log2(T) rounds, written out, in both directions.
# newton: the iterations, and in the branch of the fallback the loop over time; backward nothing but
#   the rounds of an associative scan, because the Jacobians are dense.
LOWERED = {
    "scan": (sm.scan(), 6, 1, 2),
    "fused": (sm.fused(chunk=3), 6, 1, 3),
    "fused, a rest": (sm.fused(chunk=3), 7, 1, 4),
    "chunked": (sm.chunked(segment=64), 128, 2, 6),
    "associative": (sm.associative(), 6, 0, 0),
    "newton": (sm.newton(), 6, 2, 2),
}
PAIRS = [
    (method, name)
    for method in LOWERED
    for name in cases.STRUCTURES[method.split(",")[0]]
    if method != "fused, a rest" or name == cases.ONE_CELL["fused"]
]


def score(cell, method, params, xs):
    """A number of float32 that every output and every leaf of the final state has a part in."""
    state, ys = sm.unroll(cell, params, xs, method=method)
    return sum(
        jnp.sum(jnp.abs(leaf).astype(jnp.float32) ** 2) for leaf in jax.tree.leaves((state, ys))
    )


def modules(cell, method, num_steps, dtype):
    """The texts of values and of values with gradient, of parameters and inputs of a dtype."""

    def shaped(a):
        return jax.ShapeDtypeStruct(a.shape, dtype if a.dtype == jnp.float32 else a.dtype)

    params = jax.tree.map(shaped, jax.eval_shape(lambda: cases.init(cell)))
    xs = jax.ShapeDtypeStruct((num_steps, 4, D), dtype)
    run = functools.partial(score, cell, method)
    return [lowered(function, params, xs) for function in (run, jax.value_and_grad(run, (0, 1)))]


def lowered(function, *arguments, platforms=("cuda", "tpu"), allowed=()):
    checks = [jax.export.DisabledSafetyCheck.custom_call(target) for target in allowed]
    export = jax.export.export(jax.jit(function), platforms=platforms, disabled_checks=checks)
    return export(*arguments).mlir_module()


def calls(module):
    return re.findall(r"custom_call @([\w$.]+)", module)


def loops(module):
    return len(re.findall(r"stablehlo\.while", module))


def products(module):
    """The dtypes of both factors of every matrix product."""
    return re.findall(
        r"stablehlo\.dot_general.* : \(tensor<(?:\d+x)*(\w+)>, tensor<(?:\d+x)*(\w+)>\)", module
    )


def test_calls_of_libraries_are_seen():
    matrix = jax.ShapeDtypeStruct((3, 3), jnp.float32)
    assert not set(calls(lowered(jnp.linalg.qr, matrix))) <= ALLOWED


@pytest.mark.parametrize("dtype", [jnp.float32, LOW], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("method", "name"), PAIRS)
def test_every_driver_and_structure(method, name, dtype):
    """Parameters, inputs and state are of the dtype."""
    driver, num_steps, *numbers = LOWERED[method]
    texts = modules(cases.ALL[name][0], driver, num_steps, dtype)
    for text in texts:
        assert set(calls(text)) <= ALLOWED
        assert "stablehlo.dot_general" in text
    assert [loops(text) for text in texts] == numbers


@pytest.mark.parametrize(
    ("method", "name"), [pair for pair in PAIRS if pair[1] in catalog.CELLS], ids=str
)
def test_products_in_bfloat16(method, name):
    """Of cells with dtype=bfloat16 and parameters in float32: no product mixes dtypes."""
    driver, num_steps, *numbers = LOWERED[method]
    texts = modules(catalog.CELLS[name](D, H, dtype=LOW), driver, num_steps, jnp.float32)
    for text in texts:
        assert set(calls(text)) <= ALLOWED
        found = products(text)
        assert len(found) == text.count("stablehlo.dot_general ")
        assert ("bf16", "bf16") in found
        assert {a for a, b in found if a != b} == set()
        if method != "newton":  # which solves for the states in their own dtype
            assert set(found) == {("bf16", "bf16")}
    assert [loops(text) for text in texts] == numbers


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_cudnn(precision, monkeypatch):
    """The call of cuDNN, lowered for `cuda`; two functions of the CUDA plugin are stood in for.

    They are `compute_rnn_workspace_reserve_space_sizes`, which asks cuDNN on the device and is
    called while `jax.experimental.rnn` is traced, and `build_rnn_descriptor`, which packs the
    settings. All else is JAX's own lowering.
    """
    from jax._src.lib import gpu_rnn

    descriptors = []

    def build_rnn_descriptor(*settings):
        descriptors.append(settings)
        return b"descriptor"

    plugin = types.SimpleNamespace(build_rnn_descriptor=build_rnn_descriptor)
    sizes = "compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(gpu_rnn, sizes, lambda *_: (11, 22), raising=False)
    for primitive, rule in (
        (rnn.rnn_fwd_p, gpu_rnn._rnn_fwd_lowering),
        (rnn.rnn_bwd_p, gpu_rnn._rnn_bwd_lowering),
    ):
        rules = mlir._platform_specific_lowerings["cuda"]
        monkeypatch.delitem(rules, primitive, raising=False)
        mlir.register_lowering(primitive, functools.partial(rule, plugin, "cu"), platform="cuda")

    class Device:
        device_kind, platform = "a GPU", "gpu"

        class client:  # noqa: N801
            platform_version = "PJRT C API\ncuda 12090"

    monkeypatch.setattr(jax, "local_devices", lambda: [Device])
    cell, num_steps, rows = sm.lstm(D, H), 7, 5
    params = jax.eval_shape(lambda: cases.init(cell))
    xs = jax.ShapeDtypeStruct((num_steps, rows, D), jnp.float32)
    lengths = jax.ShapeDtypeStruct((rows,), jnp.int32)

    def run(params, xs, lengths):
        driver = sm.cudnn(precision=precision)
        return jnp.sum(sm.unroll(cell, params, xs, lengths=lengths, method=driver)[1])

    targets = ["cudnn_rnn_ffi", "cudnn_rnn_bwd_ffi"]
    text = lowered(jax.grad(run, (0, 1)), params, xs, lengths, platforms=["cuda"], allowed=targets)
    assert calls(text) == targets
    assert loops(text) == 0
    operands, results = re.search(r"@cudnn_rnn_ffi.*: \((.*)\) -> \((.*?)\)", text).groups()
    weights = 4 * H * (D + H + 2)
    expected = [f"{rows}x{num_steps}x{D}xf32", *2 * [f"1x{rows}x{H}xf32"], f"{weights}xf32"]
    assert re.findall(r"tensor<(.*?)>", operands) == [*expected, f"{rows}xi32"]
    expected = [f"{rows}x{num_steps}x{H}xf32", *2 * [f"1x{rows}x{H}xf32"], "11xf32", "22xf32"]
    assert re.findall(r"tensor<(.*?)>", results) == expected
    # Layers, rows, steps, dropout, two directions, TF32 allowed, then the two sizes.
    settings = (D, H, 1, rows, num_steps, 0.0, False, precision == "tf32", 11, 22)
    assert descriptors == 2 * [settings]
