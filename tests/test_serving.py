"""A served model gives what the model gives, in a process that has none of its code."""

import json
import subprocess
import sys

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels import serving

INPUTS = {"xs": (f"T, B, {cases.D}", "float32"), "lengths": ("B", "int32")}
CELLS = {
    "lstm": (sm.lstm(cases.D, 5), "scan"),
    "fused": (sm.gru(cases.D, 5), "fused"),
    "both": (sm.bidirectional(sm.gru(cases.D, 3), sm.rnn(cases.D, 2)), "scan"),
    "stack": (sm.stack([sm.dropout(sm.rnn(cases.D, 4), 0.3), sm.min_gru(4, 5)]), "scan"),
}


def model(name):
    cell, method = CELLS[name]

    def apply(params, xs, lengths):
        _, ys = sm.unroll(cell, params["cell"], xs, lengths=lengths, method=method)
        return {"scores": jnp.sum(ys, axis=0) @ params["w"], "ys": ys}

    key = jax.random.key(0)
    return apply, {"cell": cell.init(key), "w": jax.random.normal(key, (5, 2))}


def batch(num_steps, rows):
    rng = np.random.default_rng(num_steps)
    xs = rng.normal(size=(num_steps, rows, cases.D)).astype(np.float32)
    return xs, rng.integers(0, num_steps + 1, rows).astype(np.int32)


@pytest.fixture
def file(tmp_path):
    apply, params = model("lstm")
    texts = {"tokenizer.json": '{"עברית": "😍"}'}
    return serving.export(
        tmp_path / "m.seq", apply, params, INPUTS, texts=texts, about={"classes": ["a", "b"]}
    )


@pytest.mark.parametrize("name", CELLS)
def test_gives_what_the_model_gives_for_sizes_not_seen_before(name, tmp_path):
    apply, params = model(name)
    served = serving.load(serving.export(tmp_path / "m.seq", apply, params, INPUTS))
    for num_steps, rows in ((1, 1), (7, 3), (12, 4)):
        xs, lengths = batch(num_steps, rows)
        want = jax.jit(apply)(params, xs, lengths)
        for key, got in served(xs, lengths).items():
            np.testing.assert_array_equal(got, want[key])


def test_keeps_texts_and_the_rest(file):
    served = serving.load(file)
    assert served.texts == {"tokenizer.json": '{"עברית": "😍"}'}
    assert served.about == {"classes": ["a", "b"]}
    assert served.inputs == (
        ("xs", f"T, B, {cases.D}", "float32"),
        ("lengths", "B", "int32"),
    )
    assert not list(file.parent.glob("*.unfinished"))


def test_a_process_without_the_models_code(file, tmp_path):
    xs, lengths = batch(9, 2)
    np.savez(tmp_path / "inputs.npz", xs=xs, lengths=lengths)
    code = (
        "import sys, json, importlib.util, numpy as np\n"
        # The module alone, as a copied file: nothing else of this package can be imported.
        "sys.modules['seqmodels'] = None\n"
        "for name in ('optax', 'flax', 'orbax', 'absl'): sys.modules[name] = None\n"
        "spec = importlib.util.spec_from_file_location('serving', sys.argv[1])\n"
        "serving = importlib.util.module_from_spec(spec); spec.loader.exec_module(serving)\n"
        "found = np.load(sys.argv[3])\n"
        "outputs = serving.load(sys.argv[2])(found['xs'], found['lengths'])\n"
        "print(json.dumps(np.asarray(outputs['scores']).tolist()))\n"
    )
    command = [sys.executable, "-c", code, serving.__file__, str(file), tmp_path / "inputs.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    apply, params = model("lstm")
    want = apply(params, xs, lengths)["scores"]
    cases.assert_close(np.array(json.loads(done.stdout), np.float32), want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int8"])
def test_parameters_of_any_dtype(dtype, tmp_path):
    params = [jnp.arange(6).reshape(2, 3).astype(dtype), jnp.ones((), dtype)]
    path = serving.export(
        tmp_path / "m", lambda p, x: x * p[0].astype(x.dtype), params, {"x": ("2, 3", "float32")}
    )
    got = serving.load(path)(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(got, np.arange(6.0).reshape(2, 3))


def test_every_flipped_byte_is_found(file, tmp_path):
    whole, bad = file.read_bytes(), tmp_path / "bad"
    places = [*range(100), *range(100, len(whole), 997), len(whole) - 1]
    for place in places:
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"bad: (is not a model|got version|is damaged)"):
            serving.load(bad)
    for size in (0, 5, 60, len(whole) // 2, len(whole) - 1):
        bad.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"bad: (is not a model|is damaged)"):
            serving.load(bad)


def test_another_version_is_named(file):
    file.write_bytes(file.read_bytes().replace(b"seqmodels-serving 1", b"seqmodels-serving 7", 1))
    with pytest.raises(ValueError, match="got version 7, expected version 1"):
        serving.load(file)


def test_another_platform_is_named(tmp_path):
    path = serving.export(
        tmp_path / "m", lambda p, x: x * p, jnp.ones(()), {"x": ("B", "float32")}, platforms=["tpu"]
    )
    with pytest.raises(ValueError, match=r"got a model for tpu, expected one for cpu"):
        serving.load(path)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda xs, n: (xs,), "got 1 inputs, expected 2: xs, lengths"),
        (lambda xs, n: (xs[..., :1], n), rf"xs: got .*, expected float32 \(T, B, {cases.D}\)"),
        (lambda xs, n: (xs.astype(np.int32), n), "xs: got int32"),
        (lambda xs, n: (xs[0], n), "xs: got float32"),
        (lambda xs, n: (xs, n[1:]), r"lengths: got int32 \(2,\), expected int32 \(B\).*B = 3"),
    ],
)
def test_wrong_inputs_are_named(file, inputs, message):
    with pytest.raises(ValueError, match=message) as raised:
        serving.load(file)(*inputs(*batch(4, 3)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", ["auto", "chunked"])
def test_a_driver_that_plans_by_sizes_is_refused(method, tmp_path):
    cell = sm.lstm(cases.D, 5)
    params = cell.init(jax.random.key(0))

    def apply(params, xs):
        return sm.unroll(cell, params, xs, method=method)[1]

    with pytest.raises(ValueError, match="unroll with method='scan'"):
        serving.export(tmp_path / "m", apply, params, {"xs": INPUTS["xs"]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sizes", [(0, 2), (3, 0), (0, 0)])
def test_a_size_of_0_is_refused_in_one_line(file, sizes):
    xs, lengths = np.zeros((*sizes, cases.D), np.float32), np.zeros(sizes[1], np.int32)
    with pytest.raises(
        ValueError, match=r"xs: got shape .*, expected sizes of at least 1"
    ) as error:
        serving.load(file)(xs, lengths)
    assert "\n" not in str(error.value)
