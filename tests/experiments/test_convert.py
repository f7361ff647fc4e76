"""Files of weights are converted, what they hold is shown, and a mistake is one line."""

import sys

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import weights_cases as cases

import seqmodels as sm
from experiments.common import app
from experiments.convert import Config, run
from experiments.convert.__main__ import EXPERIMENT
from seqmodels import model_files
from seqmodels.weights.transfer import flatten

FRAMEWORKS = ("torch", "keras", "flax", "nnx", "haiku", "equinox", "seqmodels")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def save(path, arrays):
    safetensors.numpy.save_file(dict(arrays), path)
    return str(path)


def torch_file(path, kind="lstm", layers=1, directions=1, prefix=""):
    """A file of torch's names, and the cell and parameters that it holds."""
    cell = cases.make_cell(kind, layers, directions)
    params = cases.params_of(cell)
    arrays = {f"{prefix}{k}": a for k, a in sm.weights.to_torch(params, cell).items()}
    return save(path, arrays), cell, params


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_there_and_back(framework, ending, tmp_path):
    source, _, params = torch_file(tmp_path / "a.safetensors", "lstm", 2, 2)
    middle, back = str(tmp_path / f"b.{ending}"), str(tmp_path / f"c.{ending}")
    run(Config(source="torch", input=source, target=framework, output=middle))
    found = run(Config(source=framework, input=middle, target="seqmodels", output=back))
    assert [len(layer) for layer in found.layers] == [2, 2]
    assert not found.left_out
    given, want = jax.tree.leaves(found.params), jax.tree.leaves(params)
    for a, b in zip(given, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-7 if framework == "haiku" else 0)


@pytest.mark.parametrize(
    ("kind", "framework"),
    [
        ("rnn", "torch"),
        ("rnn", "keras"),
        ("rnn", "linen"),
        ("rnn", "nnx"),
        ("rnn_relu", "haiku"),
        ("rnn", "seqmodels"),
        ("gru", "keras"),
        ("gru", "haiku"),
        ("gru", "seqmodels"),
        ("gru_after", "torch"),
        ("gru_after", "keras"),
        ("gru_after", "linen"),
        ("gru_after", "nnx"),
        ("gru_after", "equinox"),
        ("gru_after", "seqmodels"),
    ],
)
def test_kinds_are_found(kind, framework, tmp_path):
    cell = cases.make_cell(kind)
    params = cases.params_of(cell)
    if framework == "nnx" and kind == "gru_after":
        params = params._replace(b_n=np.zeros(cases.H, np.float32))
    if framework == "seqmodels":
        arrays = {k: np.asarray(v) for k, v in params._asdict().items() if v is not None}
    else:
        written = getattr(sm.weights, f"to_{framework}")(params, cell)
        arrays = dict(flatten(written))
    source = save(tmp_path / "a.safetensors", arrays)
    output = str(tmp_path / "b.safetensors")
    found = run(Config(source=framework, input=source, target="seqmodels", output=output))
    assert found.layers[0][0].kind == kind.removesuffix("_relu")
    cases.assert_same_bits(found.params, params)
    stored = model_files.parse_safetensors((tmp_path / "b.safetensors").read_bytes())
    assert sorted(stored) == sorted(k for k, v in params._asdict().items() if v is not None)


def test_what_is_shown(tmp_path, capsys):
    source, _, _ = torch_file(tmp_path / "a.safetensors", "gru_after", 2, prefix="model.rnn.")
    arrays = safetensors.numpy.load_file(source) | {"decoder.weight": np.zeros((9, 3), "f")}
    source, output = save(source, arrays), tmp_path / "b.safetensors"
    arguments = ["--from=torch", f"--input={source}", "--to=flax", f"--output={output}"]
    assert app.execute(EXPERIMENT, arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["layer", "direction", "cell", "D", "H", "tensors"]
    names = [f"model.rnn.{name}_l1" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    row = ["1", "forward", "gru", "(reset", "after)", "3", "3", *(f"{name}," for name in names)]
    assert lines[2] == [*row[:-1], names[-1]]
    assert lines[3:] == [
        ["left", "out:", "decoder.weight", "(9,", "3)"],
        ["written:", str(output), "(linen)"],
    ]
    assert "1/cell/hn/bias" in safetensors.numpy.load_file(output)


def test_dtypes_stay(tmp_path):
    source, cell, params = torch_file(tmp_path / "a.safetensors")
    for dtype in (np.float64, ml_dtypes.bfloat16):
        arrays = sm.weights.to_torch(params, cell)
        save(source, {name: array.astype(dtype) for name, array in arrays.items()})
        output = tmp_path / "b.safetensors"
        run(Config(input=source, output=str(output), overwrite=True))
        stored = model_files.parse_safetensors(output.read_bytes())
        assert {array.dtype for array in stored.values()} == {np.dtype(dtype)}
    arguments = [f"--input={source}", f"--output={tmp_path / 'b.npz'}"]
    assert app.execute(EXPERIMENT, arguments) == 1


def test_a_trained_model_of_ours(tmp_path):
    cell = cases.make_cell("lstm", 2)
    params = {"cell": cases.params_of(cell), "output": {"w": np.zeros((3, 2), np.float32)}}
    model_files.save(tmp_path / "model", "test", {}, params)
    source = str(tmp_path / "model" / "params.safetensors")
    output = str(tmp_path / "b.npz")
    found = run(Config(source="seqmodels", input=source, target="torch", output=output))
    assert found.left_out == ["output.w"]
    with np.load(output) as stored:
        got = sm.weights.from_torch(stored, cell)
    cases.assert_same_bits(got, params["cell"])


def test_directions_that_sizes_leave_open(tmp_path, capsys):
    cell = sm.stack([sm.lstm(3, 3), sm.lstm(3, 3)])
    params = cases.params_of(cell)
    arrays = {f"arr_{n}": a for n, a in enumerate(sm.weights.to_keras(params, cell))}
    arguments = ["--from=keras", f"--input={save(tmp_path / 'a.safetensors', arrays)}"]
    arguments += ["--to=torch", f"--output={tmp_path / 'b.npz'}"]
    assert app.execute(EXPERIMENT, arguments) == 1
    assert "expected --directions=1 or --directions=2" in capsys.readouterr().err
    assert app.execute(EXPERIMENT, [*arguments, "--directions=1"]) == 0
    with np.load(tmp_path / "b.npz") as stored:
        cases.assert_same_bits(sm.weights.from_torch(stored, cell), params)
    assert app.execute(EXPERIMENT, [*arguments, "--directions=2", "--overwrite"]) == 0
    with np.load(tmp_path / "b.npz") as stored:
        assert "weight_ih_l0_reverse" in stored


def test_dense_layers_and_embeddings_of_keras_are_left_out(tmp_path):
    cell = cases.make_cell("gru_after", 3)
    params = cases.params_of(cell)
    dense = [np.zeros((3, 9), np.float32), np.zeros(9, np.float32)]
    weights = [np.zeros((50, 2), np.float32), *sm.weights.to_keras(params, cell), *dense]
    np.savez(tmp_path / "a.npz", *weights)
    config = Config(source="keras", input=str(tmp_path / "a.npz"), target="keras")
    found = run(config.replace(output=str(tmp_path / "b.npz")))
    assert found.left_out == ["arr_0", "arr_10", "arr_11"]
    cases.assert_same_bits(jax.tree.leaves(found.params), jax.tree.leaves(params))


def test_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    source, _, _ = torch_file(tmp_path / "a.safetensors")
    run(Config(input=source, target="onnx", output=str(tmp_path / "b.onnx")))
    assert onnx.load(tmp_path / "b.onnx").graph.input[0].name == "xs"


def test_files_of_torch(tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(2, 3)
    torch.save(module.state_dict(), tmp_path / "a.pt")
    torch.save(module, tmp_path / "b.pt")
    output = f"--output={tmp_path / 'c.npz'}"
    assert app.execute(EXPERIMENT, [f"--input={tmp_path / 'a.pt'}", output]) == 0
    assert app.execute(EXPERIMENT, [f"--input={tmp_path / 'b.pt'}", output, "--overwrite"]) == 1
    assert "torch.load(weights_only=True)" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch", None)
    assert app.execute(EXPERIMENT, [f"--input={tmp_path / 'a.pt'}", output, "--overwrite"]) == 1
    assert "got 'a.pt', which needs torch" in capsys.readouterr().err


def wrong_files(folder):
    lstm = cases.make_cell("lstm")
    arrays = sm.weights.to_torch(cases.params_of(lstm), lstm)
    files = {
        "good": arrays,
        "none": {"weight": np.zeros(3)},
        "two": {f"{p}.{name}": a for p in ("encoder", "decoder") for name, a in arrays.items()},
        "bias": arrays | {"bias_ih_l0": np.zeros(5, np.float32)},
        "chain": arrays | {name.replace("l0", "l1"): np.vstack([a, a]) if a.ndim == 1 else a
                           for name, a in arrays.items() if "weight" in name},
        "projected": arrays | {"weight_hh_l0": np.zeros((12, 2), np.float32)},
        "backward": {f"{name}_reverse": a for name, a in arrays.items()},
    }  # fmt: skip
    for name, content in files.items():
        save(folder / f"{name}.safetensors", content)
    (folder / "text.safetensors").write_text("no arrays")
    (folder / "text.npz").write_text("no arrays")
    np.savez(folder / "pickled.npz", weight_ih_l0=np.array([{}], dtype=object))
    (folder / "there.npz").write_text("")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 1, "input: got nothing, expected the name of a file"),
        (["--input=good.safetensors"], 1, "output: got nothing"),
        (["--from=tensorflow"], 2, "from: got 'tensorflow', expected one of torch, keras"),
        (["--input=absent.npz", "--output=b.npz"], 1, "absent.npz cannot be read: No such file"),
        (["--input=a.pkl", "--output=b.npz"], 1, "expected a name that ends in .safetensors"),
        (["--input=text.npz", "--output=b.npz"], 1, "text.npz cannot be read: "),
        (["--input=text.safetensors", "--output=b.npz"], 1, "cannot be read: safetensors: "),
        (["--input=pickled.npz", "--output=b.npz"], 1, "cannot be read: Object arrays cannot"),
        (["--input=good.safetensors", "--output=b.pt"], 1, "output: got 'b.pt', expected a name"),
        (["--input=good.safetensors", "--output=there.npz"], 1, "which exists, expected a new"),
        (["--input=good.safetensors", "--output=x/b.npz"], 1, "whose folder does not exist"),
        (["--input=good.safetensors", "--output=b.npz", "--prefix=a."], 1, "prefix: got 'a.'"),
        (["--input=good.safetensors", "--output=b.npz", "--directions=2"], 1, "the file has 1"),
        (
            ["--input=good.safetensors", "--output=b.npz", "--from=keras"],
            1,
            "expected arr_0, arr_1",
        ),
        (["--input=good.safetensors", "--output=b.npz", "--from=flax"], 1, "no recurrent layer"),
        (["--input=none.safetensors", "--output=b.npz"], 1, "no recurrent layer"),
        (["--input=two.safetensors", "--output=b.npz"], 1, "modules decoder., encoder.; expected"),
        (["--input=bias.safetensors", "--output=b.npz"], 1, "bias_ih_l0: got (5,), expected (12,)"),
        (["--input=chain.safetensors", "--output=b.npz"], 1, "do not fit each other"),
        (["--input=projected.safetensors", "--output=b.npz"], 1, "without proj_size"),
        (["--input=backward.safetensors", "--output=b.npz"], 1, "got a backward cell"),
        (["--input=good.safetensors", "--output=b.onnx"], 1, "ends in .safetensors or .npz"),
        (["--input=good.safetensors", "--output=b.npz", "--to=onnx"], 1, "ends in .onnx"),
    ],
)
def test_mistakes(arguments, status, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wrong_files(tmp_path)
    assert app.execute(EXPERIMENT, arguments) == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("convert: error: ")
    assert message in line
    assert not (tmp_path / "b.npz").exists()
    assert (tmp_path / "there.npz").read_text() == ""


def test_a_target_without_the_cell(tmp_path, capsys):
    source, _, _ = torch_file(tmp_path / "a.safetensors", "rnn")
    arguments = [f"--input={source}", f"--output={tmp_path / 'b.npz'}", "--to=equinox"]
    assert app.execute(EXPERIMENT, arguments) == 1
    assert "to_equinox: cell: got sm.rnn, which equinox lacks" in capsys.readouterr().err
    arguments[-1] = "--to=haiku"
    assert app.execute(EXPERIMENT, arguments) == 1
    assert "expected sm.rnn(activation='relu')" in capsys.readouterr().err
    assert app.execute(EXPERIMENT, [*arguments, "--activation=relu"]) == 0
