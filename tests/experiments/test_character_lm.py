"""The parts of the character model: bits, the carried state, and what it writes."""

import math

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from experiments.character_lm import study as character_lm
from seqmodels import model_files
from seqmodels.data.streams import contiguous
from seqmodels.datasets.plays import Plays, character_set

TEXT = "to be, or not to be: that is the question. " * 3
CHARACTERS = character_set(TEXT)
SIZE = len(CHARACTERS.known)


def drawn(name="lstm"):
    cell, model = character_lm.make_model(name, SIZE, 6, 5)
    return cell, model, jax.tree.map(lambda a: 3 * a, model.init(jax.random.key(0)))


@pytest.mark.parametrize("name", character_lm.CELLS)
def test_pieces_with_the_state_carried_are_the_whole(name):
    with jax.enable_x64(True):  # float32 steps of other lengths drift apart by 2e-5
        cell, model, params = drawn(name)
        params = cases.to64(params)
        tokens = CHARACTERS.encode(TEXT)
        pieces = contiguous(tokens, 2, 8)
        state = jax.tree.map(
            lambda a: a + 7, cell.initial_state(params.cell, (2,))
        )  # is reset first
        found = []
        for n in range(pieces.per_epoch):
            state, bits = character_lm.run_piece(cell, model, params, state, pieces.at(n))
            found.append(bits)
        steps = 8 * pieces.per_epoch
        stream = (len(tokens) - 1) // 2
        for row in range(2):
            read = tokens[row * stream : row * stream + steps + 1]
            _, ys = sm.unroll(cell, params.cell, params.embedding[read[:-1]])
            p = jax.nn.softmax(np.asarray(ys) @ params.w_out + params.b_out[None])
            want = -np.log2(np.asarray(p)[np.arange(steps), read[1:]])
            cases.assert_close(jnp.concatenate(found)[:, row], want, 1e-9)


def test_bits_of_a_model_that_knows_nothing():
    cell, model, params = drawn()
    params = params._replace(w_out=0 * params.w_out)
    bits = character_lm.make_bits(cell, model, CHARACTERS.encode(TEXT))(params)
    assert bits == pytest.approx(math.log2(SIZE), rel=1e-6)


def test_what_it_writes(tmp_path):
    _, _, params = drawn()
    config = {"cell": "lstm", "hidden_size": 6, "embedding_size": 5}
    config |= {"characters": CHARACTERS.known}
    model_files.save(tmp_path / "m", character_lm.PROGRAM, config, params)
    found = model_files.load(tmp_path / "m", character_lm.PROGRAM)
    texts = [
        character_lm.go_on(found, text, 20, 0.5, jax.random.key(seed))
        for text, seed in (("to", 0), ("to", 0), ("to", 1), ("t", 0), ("\U0001f680", 0))
    ]
    assert all(len(text) == 20 and set(text) <= set(CHARACTERS.known[1:]) for text in texts)
    assert texts[0] == texts[1] != texts[2]


def test_baselines_get_better_with_context():
    found = character_lm.baselines(Plays(TEXT, TEXT[5:60], TEXT[9:70]), CHARACTERS)
    assert [one["model"] for one in found][:2] == ["uniform", "unigrams"]
    assert found[0]["test_bits"] == pytest.approx(math.log2(SIZE))
    assert found[2]["test_bits"] < found[1]["test_bits"] < found[0]["test_bits"]
