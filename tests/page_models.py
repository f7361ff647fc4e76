"""Small models with random parameters for the tests of the page, and its scripts under Node."""

import json
import pathlib
import shutil
import subprocess
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import seqmodels as sm
from experiments.microscope.page import PageModel, Sentence, Subject, Words, assemble
from seqmodels.models.sequence_model import sequence_model
from seqmodels.models.text_classifier import text_classifier

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
PAGE = pathlib.Path(assemble.__file__).parent

V, D, H, C, T = 30, 5, 7, 3, 12

# Reads {scripts, code, data}, and prints as JSON what the function of the code returns.
HARNESS = """
const {scripts, code, data} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const names = "{Engine, Tokenize, Horizon}";
const parts = new Function(scripts + `; return ${names};`)();
console.log(JSON.stringify(new Function(...Object.keys(parts), "data", code)(
  ...Object.values(parts), data)));
"""


def in_node(code: str, data: Any) -> Any:
    scripts = "\n".join(
        (PAGE / name).read_text() for name in ("engine.js", "tokenize.js", "horizon.js")
    )
    given = json.dumps({"scripts": scripts, "code": code, "data": data})
    done = subprocess.run(
        [str(NODE), "-e", HARNESS], input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


class Case(NamedTuple):
    """A model of the page, its cell in JAX, and the outputs that JAX reads."""

    name: str
    cell: str
    jax_cell: sm.Cell
    params: Any
    is_pooled: bool
    pool_words: bool = False


def cases() -> list[Case]:
    lstm, rnn, gru = sm.lstm(D, H), sm.rnn(D, H), sm.gru(D, H)
    after = sm.gru(D, H, reset_after=True, learn_initial_state=True)
    both = sm.bidirectional(sm.lstm(D, H), sm.lstm(D, H))
    found = []
    for number, (name, cell, size) in enumerate(
        [
            ("rnn", rnn, H),
            ("rnn_relu", sm.rnn(D, H, activation="relu"), H),
            ("gru", gru, H),
            ("gru_after", after, H),
            ("lstm", lstm, H),
            ("stack", sm.stack([both, sm.gru(2 * H, H)]), H),
        ]
    ):
        model = sequence_model(
            cell,
            hidden_size=size,
            output_size=C,
            vocabulary_size=V,
            embedding_size=D,
            embedding_scale=1.0,
        )
        params = spread(model.init(jax.random.key(number)), number)
        kind = "lstm" if name == "stack" else name
        found.append(Case(name, kind, cell, params, is_pooled=False))
    for name, cell, size, pool_words in (("bilstm", both, 2 * H, False), ("lstm", lstm, H, True)):
        classifier = text_classifier(
            cell,
            num_features=V,
            embedding_size=D,
            hidden_size=size,
            output_size=C,
            pool_words=pool_words,
        )
        params = spread(classifier.init(jax.random.key(9)), 9)
        found.append(Case(f"pooled {name}", name, cell, params, True, pool_words))
    return found


def spread(params: Any, seed: int) -> Any:
    """Returns parameters moved at random, so that biases and initial states are not zero."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return tree.unflatten(
        [np.asarray(leaf + 0.3 * rng.normal(size=leaf.shape), np.float32) for leaf in leaves]
    )


def subject_of(found: list[Case]) -> Subject:
    return Subject(
        title="Test",
        task="sky",
        tokens=Words(tuple(f"w{k}" for k in range(V))),
        classes=("a", "b", "c"),
        models=tuple(PageModel(case.name, case.cell, case.params) for case in found),
        sentences=(Sentence("w1 w2", "a"),),
        distances=(0, 1),
    )
