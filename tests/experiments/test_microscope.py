"""The microscope on models that were trained for a few steps: page, pictures, tables, readings."""

import base64
import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import execute

from experiments import long_context
from experiments.common.errors import UserError
from experiments.common.seeds_at_once import build_model
from experiments.long_context.__main__ import EXPERIMENT as LONG_CONTEXT
from experiments.long_context.cells import build_cell
from experiments.long_context.saving import restore, save
from experiments.long_context.study import make_settings
from experiments.long_context.texts import encode_numbers
from experiments.microscope import Config, from_long_context, measure, run, study
from experiments.microscope.__main__ import EXPERIMENT
from experiments.microscope.measure import Measured
from experiments.microscope.own_run import own_config
from experiments.microscope.ratios import gradient_ratios, line
from experiments.microscope.readings import _kept
from experiments.microscope.study import load
from experiments.sentiment.model import TOKENIZER, ModelConfig, build
from seqmodels import model_files
from seqmodels.analysis.gates import trace
from seqmodels.data import word_features
from seqmodels.models.sequence_model import SequenceModelParams
from seqmodels.tasks.adding import adding
from seqmodels.tasks.sky import make_corpus, sky
from seqmodels.tasks.sky.task import split_words

SMALL = Config(
    cells=("rnn", "lstm"), distances=(2,), hidden=4, seeds=2, steps=2, reach=(0, 2), fresh=16
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The folder of the small run of the sky task, and what the microscope found in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("microscope"))
        found = run(SMALL)
        (folder,) = (path for path in found.folder.parents[1].absolute().glob("microscope-sky-*"))
    return folder, found._replace(folder=folder.parent / found.folder.relative_to("runs"))


def results(folder):
    return json.loads((folder / "results.json").read_text())


def rows(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def trained(folder, name):
    record = next(one for one in results(folder)["results"] if one["model"] == name)
    place = folder / "models" / f"{name}-{record['seed']}"
    return record, restore(model_files.load(place, "long_context"))


@pytest.mark.parametrize("name", ["rnn-2", "lstm-2"])
def test_the_kept_model_is_the_seed_best_in_validation(seen, name):
    record, model = trained(seen[0], name)
    place = record["seed"]  # seeds count from 0
    assert record["validation_accuracy"][place] == max(record["validation_accuracy"])
    task = sky(2)
    assert (model.words, model.config.answers) == (task.words, task.answers)
    batch = task.sample(jax.random.split(jax.random.key(place), 3)[1], 256, "validation")
    outputs = model.model.apply(model.params, batch.inputs)[0]
    right = np.mean(np.argmax(outputs, -1) == np.asarray(batch.targets[0]))
    assert right == pytest.approx(record["validation_accuracy"][place], abs=1e-6)


def test_the_gradient_of_every_seed_is_recorded(seen):
    task = sky(2)
    steps = task.num_steps - 1 - (task.far_step + 1)  # from the answer back to the clue
    for record in results(seen[0])["results"]:
        curves = record["gradient_log10"]
        for when in ("initial", "trained"):
            at = curves["distances"].index(steps)
            got = [10 ** curve[at] for curve in curves[when]]
            np.testing.assert_allclose(got, record[f"gradient_{when}"], rtol=1e-3)
            assert all(curve[0] == 0 for curve in curves[when])


def test_the_table_of_gates_is_the_trace(seen):
    folder, found = seen
    _, model = trained(folder, "lstm-2")
    text = found.folder / "readings.txt"
    words = split_words(text.read_text().splitlines()[0].removeprefix("Text: "))
    tokens = np.array([[model.words.index(word)] for word in words])
    traced = trace(model.cell, model.params.cell, model.model.embed(model.params, tokens))
    table = rows(found.folder / "gates-lstm-2.csv")
    assert len(table) == len(words) * 4
    for row in table:
        step, unit = int(row["step"]), int(row["unit"])
        assert row["word"] == words[step]
        for name in "ifogch":
            assert float(row[name]) == pytest.approx(float(traced.named[name][step, 0, unit]), 1e-5)


def test_units_answers_and_horizons(seen):
    folder, found = seen
    _, model = trained(folder, "lstm-2")
    units = rows(found.folder / "units-lstm-2.csv")
    constants = [float(row["time_constant"]) for row in units]
    assert constants == sorted(constants, reverse=True)
    for row in units:
        assert float(row["half_life"]) == pytest.approx(float(row["time_constant"]) * np.log(2))
    assert {row["time_constant"] for row in rows(found.folder / "units-rnn-2.csv")} == {""}
    # A forget gate that is the same at every step has the time constant -1 / log f.
    forget = np.array([row["f"] for row in rows(found.folder / "gates-lstm-2.csv")], float)
    low, high = -1 / np.log(forget.min()), -1 / np.log(forget.max())
    assert 0.9 * low <= min(constants) <= max(constants) <= 1.1 * high
    answers = rows(found.folder / "answers.csv")
    shares = np.array([[float(row[color]) for color in model.config.answers] for row in answers])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    words = [row["word"] for row in answers if row["model"].startswith("LSTM")]
    tokens = np.array([[model.words.index(word)] for word in words])
    last = jax.nn.softmax(model.model.apply(model.params, tokens)[0, 0])
    np.testing.assert_allclose(shares[-1], last, rtol=1e-4)
    task = sky(2, make_corpus())
    batch = task.sample(jax.random.key(20_001), 16, "test")  # the second of `reach`
    outputs = model.model.apply(model.params, batch.inputs)[0]
    right = float(np.mean(np.argmax(outputs, -1) == np.asarray(batch.targets[0])))
    horizon = [row for row in rows(found.folder / "horizon.csv") if row["distance"] == "2"]
    assert float(horizon[-1]["accuracy"]) == pytest.approx(right)


def test_the_page_has_the_parameters(seen):
    folder, found = seen
    page = (found.folder / "microscope.html").read_text()
    _, model = trained(folder, "lstm-2")
    array = np.asarray(model.params.cell.w_h, np.float32)
    assert base64.b64encode(array.tobytes()).decode() in page
    assert "microscope --model_dir=" in page
    for name in ("answers", "gradient", "horizon", "gates-rnn-2", "gates-lstm-2"):
        assert (found.folder / f"{name}.png").stat().st_size > 10_000


def test_the_second_call_trains_nothing(seen, monkeypatch, capsys):
    folder, found = seen
    monkeypatch.chdir(folder.parents[1])
    before = (folder / "results.json").read_bytes()
    again = run(SMALL)
    assert "which is finished; nothing is trained" in capsys.readouterr().out
    assert (folder / "results.json").read_bytes() == before
    assert again.readings == found.readings


def test_a_text_of_the_user(seen, tmp_path, capsys):
    config = Config(
        model_dir=seen[0] / "models" / trained(seen[0], "lstm-2")[1].config.cell, out=tmp_path
    )
    with pytest.raises(UserError, match="expected the folder of a run"):
        run(config)
    (model,) = (seen[0] / "models").glob("lstm-2-*")
    text = "Xylophone smoke! The sky is"
    found = run(Config(model_dir=model, out=tmp_path / "o", text=text, reach=(0,), fresh=8))
    assert [one.model.name for one in found.measured] == ["LSTM, 2 words"]
    assert "words that the models do not know: xylophone" in capsys.readouterr().err
    assert {row["word"] for row in rows(tmp_path / "o/answers.csv")} == {
        "smoke",
        "the",
        "sky",
        "is",
    }
    with pytest.raises(UserError, match="text: got 'zzz', expected a text with a word of the task"):
        run(config.replace(model_dir=model, text="zzz"))


def broken(run, folder, **values):
    """A copy of a run with other values in its results.json."""
    shutil.copytree(run, folder)
    (folder / "results.json").write_text(json.dumps(results(run) | values))
    return folder


def test_one_line_for_what_cannot_be_shown(seen, tmp_path, monkeypatch):
    folder, _ = seen
    monkeypatch.chdir(tmp_path)
    found = results(folder)["results"]
    old = [{name: one[name] for name in one if name != "model"} for one in found]
    cases = {
        "forecast": ({"program": "forecasting"}, "got a run of forecasting, expected one of long_"),
        "half": ({"complete": False}, "is not finished, expected a finished run; first python -m"),
        "old": ({"results": old}, "is of a version that kept no models; train it again"),
        "copy": ({"task": "copy"}, "got a run of the task copy, expected one of sky or adding"),
        "far": ({}, "distance: got 7, expected one of 2"),
    }
    lines = {"--model_dir=nothing": "got '{}/nothing', expected the folder of a run (results.json"}
    for name, (values, text) in cases.items():
        place = broken(folder, tmp_path / "runs" / name, **values)
        lines[f"--model_dir={place}{' --distance=7' if name == 'far' else ''}"] = text
    shutil.rmtree(tmp_path / "runs/copy/models")
    for arguments, text in lines.items():
        status, out, err = execute(EXPERIMENT, *arguments.split())
        assert status == 1, err
        assert text.format(tmp_path) in err
        assert len(err.splitlines()) == 1
        assert not out or out.startswith("run: ")
        assert not (tmp_path / "runs/microscope").exists()
    with pytest.raises(ValueError, match="steps: got it with model_dir, expected only one of the"):
        Config(model_dir="x", steps=3)


def test_outputs_in_several_calls_are_those_of_one(seen, monkeypatch):
    collection = load(seen[0])
    model, inputs = collection.models[0], collection.encode(collection.sentences[0].text).inputs
    expected = measure._by_word(model.anatomy, model.params, inputs)
    monkeypatch.setattr(measure, "CELL_STEPS", 4 * len(inputs))  # 4 sequences a call
    assert len(inputs) % 4
    found = measure._by_word(model.anatomy, model.params, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_long_text_is_cut_and_a_long_distance_is_not(seen, capsys):
    text = load(seen[0]).encode("the sky is " * 3)
    cut = study._cut(text, 4)
    assert cut.words == ["the", "sky", "is", "the"]
    assert cut.inputs.tolist() == text.inputs[:4].tolist()
    assert "got 9 words, read the first 4" in capsys.readouterr().err
    far = from_long_context._sky(seen[0], results(seen[0]), (), 700)
    assert max(len(split_words(one.text)) for one in far.sentences) == far.max_words > 700


def record(cell, *by_seed):
    """A record of results.json whose gradient falls by a factor of 10 ** by_seed in 10 steps."""
    trained = [[0.0, slope / 2, slope] for slope in by_seed]
    initial = [[0.0, slope, 2 * slope] for slope in by_seed]
    curves = {"distances": [0, 5, 10], "initial": initial, "trained": trained}
    return {"cell": cell, "distance": 10, "gradient_log10": curves}


def test_the_ratio_of_gradients_has_the_interval_of_student():
    """Differences 1, 2, 3: their mean is 2, and the half width 4.3027 / sqrt(3)."""
    found = {"results": [record("rnn", -1.0, -2.0, -3.0), record("lstm", 0.0, 0.0, 0.0)]}
    initial, ratio = gradient_ratios(found)
    assert (initial.when, ratio.when) == ("initial", "trained")
    assert initial.by_seed == [2.0, 4.0, 6.0]
    assert ratio.by_seed == [1.0, 2.0, 3.0]
    assert ratio.mean == pytest.approx(2)
    assert (ratio.low, ratio.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert "both trained at distance 10: 100 [10^-0.5, 30,489]" in line(ratio)
    assert gradient_ratios({"results": found["results"][:1]}) == []


@pytest.mark.parametrize(
    ("distances", "curve", "ratio"),
    [
        ([0, 10, 20], [0.0, -2.0, None], 2.0),  # the point itself, next to a gradient of zero
        ([0, 10, 20], [None, -2.0, -3.0], 2.0),
        ([0, 5, 15], [0.0, -2.0, -4.0], 3.0),  # half way between two points
        ([0, 5, 15], [0.0, -2.0, None], None),
        ([0, 5], [0.0, None], None),
    ],
)
def test_the_ratio_next_to_a_gradient_of_zero(distances, curve, ratio):
    def one(cell, values):
        curves = {"distances": distances, "initial": [values], "trained": [values]}
        return {"cell": cell, "distance": 10, "gradient_log10": curves}

    found = {"results": [one("rnn", curve), one("lstm", [0.0] * len(curve))]}
    assert [r.mean for r in gradient_ratios(found)] == ([] if ratio is None else [ratio] * 2)
    # Both are zero at the distance: their difference is not a number.
    both = {"results": [one("rnn", [0.0, None, None][: len(curve)]), one("lstm", curve)]}
    assert all(np.isfinite(r.mean) for r in gradient_ratios(both))


def test_a_reading_says_where_the_evidence_was_written(seen):
    """A unit is written .8 at the second word and .1 at the last, and keeps half of it a step."""
    collection = load(seen[0])
    states = np.array([[0.0], [0.8], [0.4], [0.3]])
    params = SequenceModelParams(None, None, np.eye(1, 8), np.zeros(8))
    one = Measured(
        model=collection.models[0]._replace(params=params),
        traces={"": {"c": states, "h": states, "i": states, "o": np.full((4, 1), 0.25)}},
        retained={"": np.full((4, 1), 0.5)},
        answers=np.eye(8)[[0] * 4],
        gradient=None,
        units={},
        horizon=None,
    )
    text = collection.encode("smoke wildfires sky is")
    assert _kept(collection, one, text) == [
        "Its evidence was written 67% at 'wildfires' (2 words before the end), 33% at 'is' (the "
        "last word), 0% at 'smoke' (3 words before the end).",
        "Unit 0, whose input gate opens to 0.80 there, takes up most of 'wildfires' and keeps "
        "0.500 of it a step. The output gate at the end is 0.25.",
    ]


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """A run of sentiment as it is stored, with models that were not trained."""
    folder = tmp_path_factory.mktemp("sentiment")
    features = word_features.train(["a good film", "a bad film"], least_count=1, buckets=20)
    records = []
    for cell in ("bag", "gru", "bilstm"):
        config = ModelConfig(cell, 3, 4, 0.5, 0.3, 0.5, 20, 3, 4, 9, ("bad", "good"), 0.0, "csv")
        params = build(config, features.num_features).init(jax.random.key(1))
        files = {TOKENIZER: features.tokenizer.to_str()}
        place = folder / "models" / f"{cell}-3"
        model_files.save(place, "sentiment", config._asdict(), params, files)
        records.append({"model": cell, "seed": 3, "validation_macro_f1": 0.5, "accuracy": 0.5})
    found = {"complete": True, "program": "sentiment", "results": records, "flags": {}}
    found |= {"chosen_by": "validation_macro_f1", "chosen_mode": "max"}
    (folder / "results.json").write_text(json.dumps(found))
    return folder


def test_sentiment(classifiers, tmp_path):
    found = run(Config(model_dir=classifiers, out=tmp_path, text="a good, good film"))
    assert [one.model.name for one in found.measured] == ["GRU", "BiLSTM"]
    gru, pair = found.measured
    assert gru.gradient is not None
    assert pair.gradient is None
    header = (tmp_path / "gates-bilstm.csv").read_text().splitlines()[0].split(",")
    assert {"forward f", "backward c"} <= set(header)
    assert not (tmp_path / "horizon.csv").exists()
    predictor = load(classifiers).models[1]
    inputs = jnp.asarray(load(classifiers).encode("a good, good film").inputs)
    lengths = jnp.array([len(inputs)])
    config = ModelConfig("bilstm", 3, 4, 0, 0, 0, 20, 3, 4, 9, ("bad", "good"), 0.0, "csv")
    model = build(config, len(predictor.params.embedding))
    outputs = model.apply(predictor.params, inputs, lengths)
    np.testing.assert_allclose(pair.answers[-1], jax.nn.softmax(outputs)[0], rtol=1e-4)


def test_long_context_evaluates_and_predicts_with_the_kept_models(seen):
    folder, _ = seen
    for one in long_context.evaluate(folder):
        record, _ = trained(folder, one["model"])
        assert one["accuracy"] == pytest.approx(record["accuracy"][record["seed"]], abs=1e-6)
    place = folder / "models" / f"lstm-2-{trained(folder, 'lstm-2')[0]['seed']}"
    text = "smoke and flames, the sky is"
    status, out, err = execute(LONG_CONTEXT, f"--predict={text}", f"--model_dir={place}")
    assert (status, err) == (0, "")
    _, answer, *lines = out.splitlines()
    shares = {line.split()[0]: float(line.split()[1]) for line in lines}
    assert max(shares, key=shares.get) == answer
    assert set(shares) == set(sky(2).answers)
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    status, _, err = execute(LONG_CONTEXT, "--predict=zzz", f"--model_dir={place}")
    assert status == 1
    assert "predict: got 'zzz', expected a text with a word of the task" in err


def test_texts_of_the_adding_problem():
    found = encode_numbers("0.25 0.5* 1")
    np.testing.assert_array_equal(found.inputs[:, 0], [[0.25, 0], [0.5, 1], [1, 0]])
    for text in ("0.25 half", "nan", " "):
        with pytest.raises(ValueError, match=r"text: got .*expected numbers such as 0.31 0.87\*"):
            encode_numbers(text)


def test_a_model_keeps_its_precision(tmp_path):
    task = adding(20)
    small = own_config(Config(cells=("gru",), hidden=3)).replace(
        task="adding", precision="bfloat16"
    )
    settings = make_settings(small)["gru"]
    options = {"num_steps": 20, "initialisation": "memory", "precision": "bfloat16"}
    built = build_model(build_cell("gru", 2, 3, **options), 3, 1, vocabulary=None, embedding=None)
    params = built.init(jax.random.key(5))
    about = {"cell": "gru", "distance": 20, "seed": 4, "initialisation": "memory"}
    save(tmp_path / "model", task, settings, about, params)
    found = restore(model_files.load(tmp_path / "model", "long_context"))
    assert found.config.precision == "bfloat16"
    state = found.cell.initial_state(params.cell, (2,))
    _, y_t = found.cell.step(params.cell, state, jnp.ones((2, 2)))
    assert y_t.dtype == jnp.bfloat16


def test_adding(tmp_path):
    """A run of long_context as it is stored, with a model that was not trained."""
    task = adding(20)
    small = own_config(Config(cells=("gru",), hidden=3)).replace(task="adding")
    settings = make_settings(small)["gru"]
    built = build_model(build_cell("gru", 2, 3, num_steps=20, initialisation="memory"), 3, 1,
                        vocabulary=None, embedding=None)  # fmt: skip
    params = built.init(jax.random.key(5))
    about = {"cell": "gru", "distance": 20, "seed": 4, "initialisation": "memory"}
    save(tmp_path / "run/models/gru-20-4", task, settings, about, params)
    curves = {"distances": [0], "initial": [[0.0]], "trained": [[0.0]]}
    record = about | {"model": "gru-20", "accuracy": [0.1], "gradient_log10": curves}
    found = {"complete": True, "program": "long_context", "task": "adding", "seeds": [4]}
    found |= {"chosen_by": "accuracy", "results": [record]}
    (tmp_path / "run/results.json").write_text(json.dumps(found))
    text = "0.25 0.5* 1 0.125*"
    seen = run(Config(model_dir=tmp_path / "run", out=tmp_path / "out", text=text, reach=(0, 2)))
    (one,) = seen.measured
    assert one.model.name == "GRU, 20 steps"
    inputs = np.array([[[0.25, 0]], [[0.5, 1]], [[1, 0]], [[0.125, 1]]], np.float32)
    outputs = built.apply(params, inputs, last=4)[:, 0]
    np.testing.assert_allclose(one.answers, outputs, rtol=1e-4)
    assert [row["distance"] for row in rows(tmp_path / "out/horizon.csv")] == ["2"]
    assert f"The answer is {float(outputs[-1, 0]):.2f}." in seen.readings[0]
