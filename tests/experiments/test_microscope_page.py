"""The page's engine under Node against JAX, and its tokens against Python."""

import json
import pathlib
import shutil
import subprocess
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from experiments.microscope.page import (
    Adding,
    Numbers,
    PageModel,
    Sentence,
    Subject,
    WordNgrams,
    Words,
    assemble,
    write,
)
from experiments.microscope.page.encoding import array, encoded
from seqmodels.data import word_features
from seqmodels.models.layers import dense
from seqmodels.models.sequence_model import sequence_model
from seqmodels.models.text_classifier import text_classifier
from seqmodels.tasks import sky
from seqmodels.tasks.sky.task import make_corpus, split_words

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
PAGE = pathlib.Path(assemble.__file__).parent

V, D, H, C, T, SENTENCES = 30, 5, 7, 3, 12, 20
CLAMPED = {"lstm": ("f", 3, 0.9), "gru": ("z", 2, 0.8), "gru_after": ("r", 1, 0.1)}

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
        params = _spread(model.init(jax.random.key(number)), number)
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
        params = _spread(classifier.init(jax.random.key(9)), 9)
        found.append(Case(f"pooled {name}", name, cell, params, True, pool_words))
    return found


def _spread(params: Any, seed: int) -> Any:
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


def with_stages(cell: sm.Cell, gate: str, unit: int, value: float) -> sm.Cell:
    """Returns the cell with one unit of a gate held at a value: an independent definition."""
    place = {"i": 0, "f": 1, "o": 3, "r": 0, "z": 1}[gate]
    held = float(np.log(value / (1 - value)))

    def hold(pre: Any, column: int) -> Any:
        return pre.at[..., column].set(held)

    def project(params: Any, state: Any, x_t: Any) -> Any:
        gates = cell.stages[0][0](params, state, x_t)
        column = place * H + unit
        if isinstance(gates, tuple):
            return (hold(gates[0], column), *gates[1:])
        return hold(gates, column)

    stages = ((project, cell.stages[0][1]), *cell.stages[1:])
    return sm.make_cell(cell.init, cell.initial_state, *stages)


def expect(case: Case, cell: sm.Cell, tokens: np.ndarray, *, scale: float, reset: int) -> Any:
    """Returns outputs (N, C), and d log p(class 1) / d states of every step, from JAX."""
    params = case.params
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * scale if path[-1].name in ("w_h", "w_n") else leaf, params.cell
    )
    resets = None
    if reset >= 0:
        resets = jnp.zeros(tokens.shape, bool).at[reset].set(True)

    def read(ys: Any, xs: Any) -> Any:
        if not case.is_pooled:
            return dense((params.w_out, params.b_out), ys[-1])
        pools = [ys, xs] if case.pool_words else [ys]
        pooled = [part for each in pools for part in (each.mean(0), each.max(0))]
        return dense((params.w_out, params.b_out), jnp.concatenate(pooled, -1))

    def loss(xs: Any) -> Any:
        ys = sm.unroll(cell, scaled, xs, resets=resets, method="scan")[1]
        outputs = read(ys, xs)
        return jax.nn.log_softmax(outputs)[:, 1].sum(), outputs

    xs = jnp.asarray(params.embedding)[tokens]
    (_, outputs), dxs = jax.value_and_grad(loss, has_aux=True)(xs)
    return np.asarray(outputs), np.asarray(dxs)


def expect_states(case: Case, tokens: np.ndarray) -> list[np.ndarray]:
    """Returns d log p(class 1) / d (h, c) after every step (T, N, H), of a cell that steps."""
    params, cell = case.params, case.jax_cell
    xs = jnp.asarray(params.embedding)[tokens]
    start = cell.initial_state(params.cell, (tokens.shape[1],))

    def loss(nudges: Any) -> Any:
        def body(state: Any, inputs: Any) -> Any:
            x_t, nudge = inputs
            state, _ = cell.step(params.cell, state, x_t)
            state = jax.tree.map(jnp.add, state, nudge)
            return state, state.h

        ys = jax.lax.scan(body, start, (xs, nudges))[1]
        outputs = dense((params.w_out, params.b_out), ys[-1])
        return jax.nn.log_softmax(outputs)[:, 1].sum()

    zeros = jax.tree.map(lambda leaf: jnp.zeros((T, *leaf.shape)), start)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.grad(loss)(zeros))]


RUN = """
return data.runs.map(({model, change, sentences}) => {
  const loaded = Engine.loadModel(data.subject.models[model]);
  const all = {...Engine.UNTOUCHED, ...change};
  for (const gates of Object.values(all.clamps)) {
    for (const name in gates) gates[name] = gates[name].map((v) => v === null ? NaN : v);
  }
  return sentences.map((words) => {
    const tokens = words.map((w) => [w]), trace = Engine.run(loaded, tokens, all);
    const byWord = Engine.outputsByWord(loaded, trace), outputs = byWord[words.length - 1];
    const back = Engine.gradients(loaded, trace, Engine.cotangent(outputs, 1), all);
    const list = (rows) => rows.map((row) => Array.from(row));
    const first = back.layers[0][0];
    return {outputs: Array.from(outputs), dxs: list(back.dxs), dh: list(first.dh),
      dc: list(first.dc)};
  });
});
"""


@needs_node
def test_the_engine_is_jax() -> None:
    found = cases()
    tokens = np.random.default_rng(0).integers(2, V, (T, SENTENCES))
    runs, expected = [], []
    for number, case in enumerate(found):
        changes: list[tuple[dict[str, Any], sm.Cell, float, int]] = [({}, case.jax_cell, 1.0, -1)]
        if case.cell in CLAMPED and not case.is_pooled and case.name != "stack":
            gate, unit, value = CLAMPED[case.cell]
            held = [value if k == unit else None for k in range(H)]
            change = {"clamps": {"0.0": {gate: held}}, "scale": 0.5, "reset": 4}
            clamped = with_stages(case.jax_cell, gate, unit, value)
            changes.append((change, clamped, 0.5, 4))
        elif case.name == "pooled bilstm":
            changes.append(({"scale": 1.5, "reset": 5}, case.jax_cell, 1.5, 5))
        for change, cell, scale, reset in changes:
            runs.append({"model": number, "change": change, "sentences": tokens.T.tolist()})
            expected.append(expect(case, cell, tokens, scale=scale, reset=reset))
    got = in_node(RUN, {"subject": encoded(subject_of(found)), "runs": runs})
    for run, (outputs, dxs), values in zip(runs, expected, got, strict=True):
        name = f"{found[run['model']].name} {run['change']}"
        for k, one in enumerate(values):
            np.testing.assert_allclose(one["outputs"], outputs[k], atol=1e-5, err_msg=name)
            np.testing.assert_allclose(one["dxs"], dxs[:, k], atol=1e-4, err_msg=name)
    for run, values in zip(runs, got, strict=True):
        case = found[run["model"]]
        if run["change"] or case.name not in ("rnn", "gru", "lstm"):
            continue
        by_state = expect_states(case, tokens)
        for k, one in enumerate(values):
            for key, leaf in zip(("dh", "dc"), by_state, strict=False):
                np.testing.assert_allclose(one[key], leaf[:, k], atol=1e-4, err_msg=case.name)
