"""Saved models: the same bit for bit, and one line where there is none."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels import model_files

CONFIG = {"hidden": 5, "labels": ["süß", "😀"]}


def make_params(dtype=jnp.float32):
    cell = sm.stack([sm.lstm(3, 5), sm.gru(5, 5)])
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), cell.init(jax.random.key(0)))
    return {"cell": params, "scale": jnp.array(2.5), "empty": jnp.zeros((0, 2))}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_saved_is_what_is_loaded(tmp_path, dtype):
    params = make_params(dtype)
    model_files.save(tmp_path / "a/b", "sort", CONFIG, params, {"tokenizer.json": "é\r\n"})
    found = model_files.load(tmp_path / "a/b", "sort")
    assert found.config == CONFIG
    assert found.texts == {"tokenizer.json": "é\r\n"}
    restored = model_files.restore(found, lambda key: make_params(dtype))
    assert jax.tree.structure(restored) == jax.tree.structure(params)
    for got, want in zip(jax.tree.leaves(restored), jax.tree.leaves(params), strict=True):
        assert isinstance(got, jax.Array)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, np.asarray(want))


def test_a_model_is_replaced_and_other_things_are_not(tmp_path):
    model_files.save(tmp_path / "m", "sort", {}, {"a": jnp.ones(2)}, {"old.txt": ""})
    model_files.save(tmp_path / "m", "sort", {}, {"a": jnp.zeros(2)})
    assert not model_files.load(tmp_path / "m", "sort").arrays["a"].any()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "m",
        model_files.MODEL,
        model_files.PARAMS,
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("mine")
    with pytest.raises(ValueError, match="holds other things"):
        model_files.save(tmp_path / "mine", "sort", {}, {"a": jnp.ones(2)})
    assert (tmp_path / "mine/notes").read_text() == "mine"


@pytest.mark.parametrize("name", ["model.json", "../up", "a/b", "params.safetensors", ""])
def test_names_of_texts(tmp_path, name):
    with pytest.raises(ValueError, match="plain name"):
        model_files.save(tmp_path / "m", "sort", {}, {}, {name: ""})
    assert not list(tmp_path.iterdir())


def test_one_line_for_what_is_no_model_of_the_kind(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a trained model"):
        model_files.load(tmp_path / "nothing", "sort")
    model_files.save(tmp_path / "m", "sort", {}, {"a": jnp.ones(2)}, {"t.txt": "text"})
    with pytest.raises(ValueError, match="is of kind sort, expected other"):
        model_files.load(tmp_path / "m", "other")
    (tmp_path / "m/t.txt").write_text("changed")
    with pytest.raises(ValueError, match=r"t\.txt is damaged"):
        model_files.load(tmp_path / "m", "sort")
    (tmp_path / "m/t.txt").unlink()
    with pytest.raises(ValueError, match=r"t\.txt cannot be read"):
        model_files.load(tmp_path / "m", "sort")
    for text in ("{", "[]", "{}", json.dumps({"kind": "sort", "format": 1, "config": 1})):
        (tmp_path / "m" / model_files.MODEL).write_text(text)
        with pytest.raises(ValueError, match=r"model\.json is damaged"):
            model_files.load(tmp_path / "m", "sort")


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ({"a": jnp.ones(3)}, r"a: got float32\(2,\), expected float32\(3,\)"),
        ({"a": jnp.ones(2, jnp.int32)}, r"got float32\(2,\), expected int32\(2,\)"),
        ({"a": jnp.ones(2), "b": jnp.ones(1)}, r"b: got nothing, expected float32\(1,\)"),
        ({}, r"a: got float32\(2,\), expected nothing"),
    ],
)
def test_parameters_of_another_model(tmp_path, template, line):
    model_files.save(tmp_path / "m", "sort", {}, {"a": jnp.ones(2)})
    with pytest.raises(ValueError, match=line):
        model_files.restore(model_files.load(tmp_path / "m", "sort"), lambda key: template)


def test_config_that_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="config: cannot be JSON"):
        model_files.save(tmp_path / "m", "sort", {"a": object()}, {})
    assert not list(tmp_path.iterdir())
