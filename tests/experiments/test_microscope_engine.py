"""The page's engine, run under Node, against JAX: outputs, gradients, and held gates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from page_models import Case, H, T, V, cases, in_node, needs_node, subject_of

import seqmodels as sm
from experiments.microscope.page.encoding import encoded
from seqmodels.models.layers import dense

SENTENCES = 20
CLAMPED = {"lstm": ("f", 3, 0.9), "gru": ("z", 2, 0.8), "gru_after": ("r", 1, 0.1)}


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
