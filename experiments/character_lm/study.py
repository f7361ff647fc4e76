"""Many to many, in step: the next character of Shakespeare's plays, in bits a character.

A recurrent network reads character by character and predicts each next one. It is trained by
truncated backpropagation: the state is carried from piece to piece, the gradient is not.

    python -m experiments.character_lm --flagfile=experiments/character_lm/flagfiles/plays.flags
    python -m experiments.character_lm --predict="ROMEO:" --temperature=0.8
"""

import functools
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import seqmodels as sm
from experiments.common import app, runner, saved_models, training_flags
from experiments.common import report as study_report
from seqmodels import model_files
from seqmodels.cells import catalog
from seqmodels.data.batches import Batches
from seqmodels.data.streams import StreamBatch, contiguous
from seqmodels.datasets import plays
from seqmodels.datasets.plays import CharacterSet, Plays
from seqmodels.models import decoding, ngrams
from seqmodels.models.sequence_model import SequenceModel, sequence_model
from seqmodels.training.parallel import processes
from seqmodels.training.steps import Loss
from seqmodels.types import Array, Cell, Params, State

PROGRAM = "character_lm"
CELLS = {name: catalog.CELLS[name] for name in ("rnn", "gru", "lstm")}
OWN_FLAGS = ["cells", "hidden", "embedding", "length"]
LONGEST_GRAM = 8
# Share of the pieces that begin with a fresh state in training. Where none does, a network learns
# nothing about how texts begin, and may never recover from the state that it starts in.
FRESH = 0.05
EVALUATED_ROWS, EVALUATED_STEPS = 16, 256  # streams that a text is cut into, and steps of a piece
COLUMNS = {
    "validation_bits": ("validation, bits a character", study_report.decimals(3)),
    "test_bits": ("test", study_report.decimals(3)),
}


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_list("cells", ["rnn", "lstm"], f"Models, of {', '.join(CELLS)}.")
    flags.DEFINE_integer("hidden", 256, "Hidden units.", lower_bound=1, upper_bound=65_536)
    flags.DEFINE_integer("embedding", 64, "Embedding's size.", lower_bound=1, upper_bound=65_536)
    flags.DEFINE_integer(
        "length", 64, "Steps of a piece: as far as a gradient goes.", lower_bound=1
    )
    flags.DEFINE_string("data_dir", None, "Where fetched data are kept.")
    flags.DEFINE_string("predict", None, "A text that a trained model is to go on with.")
    flags.DEFINE_integer("characters", 400, "How many it writes.", lower_bound=1)
    flags.DEFINE_float("temperature", 0.8, "Below 1: likely characters become likelier.")
    flags.DEFINE_integer("sample_seed", 0, "Decides what is written.", lower_bound=0)
    runner.define(
        seeds=2, steps=1800, batch=32, learning_rate="0.003", eval_every=600, clip_norm=1.0
    )
    saved_models.define()
    app.checked(lambda value: app.names(value, CELLS), "cells")
    app.checked(app.not_empty, "data_dir")
    app.checked(lambda value: app.positive(str(value)), "temperature")
    app.checked(lambda value: app.per_name(value, CELLS, app.positive), "learning_rate")


def build() -> runner.Study:
    """Returns the study that the flags describe."""
    text = plays.load(flags.FLAGS.data_dir)
    characters = plays.character_set(text.train)
    trainings = [_training(name, text, characters) for name in flags.FLAGS.cells]
    return runner.Study(trainings, functools.partial(baselines, text, characters))


def baselines(text: Plays, characters: CharacterSet) -> list[dict[str, Any]]:
    """Returns the figures without any model, of unigrams, and of the n-grams best in validation."""
    train, *held = (characters.encode(each) for each in text)
    size = len(characters.known)
    validation, test = (ngrams.bits_by_order(train, each, size, LONGEST_GRAM) for each in held)
    best = int(np.argmin(validation))
    names = {"uniform": 0, "unigrams": 1, f"{best}-grams with back-off": best}
    return [
        {"model": name, "validation_bits": validation[order], "test_bits": test[order]}
        for name, order in names.items()
    ]


def make_model(name: str, size: int, hidden: int, embedding: int) -> tuple[Cell, SequenceModel]:
    """Returns a cell and the model around it, for so many characters."""
    cell = CELLS[name](embedding, hidden)
    model = sequence_model(
        cell,
        hidden_size=hidden,
        output_size=size,
        vocabulary_size=size,
        embedding_size=embedding,
    )
    return cell, model


def run_piece(
    cell: Cell, model: SequenceModel, params: Params, state: State, piece: StreamBatch
) -> tuple[State, Array]:
    """Returns the state after a piece, and -log2 p of each of its next characters, (T, B)."""
    resets = jnp.zeros(piece.inputs.shape, bool).at[0].set(piece.begins)
    xs = model.embed(params, jnp.asarray(piece.inputs))
    state, ys = sm.unroll(cell, params.cell, xs, state, resets=resets)
    log_probs = jax.nn.log_softmax(model.read(params, ys))
    right = jnp.take_along_axis(log_probs, jnp.asarray(piece.targets)[..., None], axis=-1)[..., 0]
    return state, -right / math.log(2)


def make_bits(cell: Cell, model: SequenceModel, tokens: np.ndarray) -> Callable[[Params], float]:
    """Returns the function from parameters to the mean bits a character of a text.

    The text is read as 16 streams side by side, each from the cell's own initial state.
    """
    rows = min(EVALUATED_ROWS, len(tokens) - 1)
    steps = min(EVALUATED_STEPS, (len(tokens) - 1) // rows)
    pieces = contiguous(tokens, rows, steps)
    every = jax.tree.map(
        lambda *leaves: np.stack(leaves), *[pieces.at(n) for n in range(pieces.per_epoch)]
    )

    @jax.jit
    def mean(params: Params, every: StreamBatch) -> Array:
        def step(state: State, piece: StreamBatch) -> tuple[State, Array]:
            state, bits = run_piece(cell, model, params, state, piece)
            return state, jnp.mean(bits)

        return jnp.mean(jax.lax.scan(step, cell.initial_state(params.cell, (rows,)), every)[1])

    return lambda params: float(mean(params, every))


def _training(name: str, text: Plays, characters: CharacterSet) -> runner.Training:
    values = flags.FLAGS
    config = {
        "cell": name,
        "hidden_size": values.hidden,
        "embedding_size": values.embedding,
        "characters": characters.known,
    }
    cell, model = make_model(name, len(characters.known), values.hidden, values.embedding)
    train, *held = (characters.encode(each) for each in text)
    bits = [make_bits(cell, model, each) for each in held]

    def loss(params: Params, piece: StreamBatch, key: Array, carry: State) -> Loss:
        fresh = jax.random.bernoulli(key, FRESH, piece.begins.shape)
        piece = piece._replace(begins=piece.begins | fresh)
        state, found = run_piece(cell, model, params, carry, piece)
        count = jnp.asarray(found.size, found.dtype)
        return Loss(jnp.sum(found), count, carry=jax.lax.stop_gradient(state))

    def batches(seed: int) -> Batches:
        # Streams that begin elsewhere for each seed; the order within a stream is the text's own.
        begin = seed * 1_009 % max(len(train) // values.batch, 1)
        return contiguous(
            np.roll(train, -begin),
            values.batch,
            values.length,
            process=processes.process_index(),
            num_processes=processes.process_count(),
        )

    def finish(seed: int, params: Params, folder: pathlib.Path) -> dict[str, Any]:
        model_files.save(folder, PROGRAM, config | {"seed": seed}, params)
        return {"test_bits": bits[1](params)}

    def fresh() -> State:
        return cell.initial_state(cell.init(jax.random.key(0)), (values.batch,))

    rates = app.per_name(values.learning_rate, CELLS, app.positive)
    rate = app.value_for("learning_rate", rates, name)
    return runner.Training(
        name=name,
        init=model.init,
        loss=loss,
        batches=batches,
        evaluate=lambda params: {"validation_bits": bits[0](params)},
        finish=finish,
        optimizer=training_flags.optimizer_settings(rate),
        fit=training_flags.fit_settings()._replace(best="validation_bits", best_mode="min"),
        carry=jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(fresh)),
    )


def report(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Shows the table."""
    del folder
    study_report.show(study_report.table(results, COLUMNS, "Next character of Shakespeare's plays"))


def go_on(
    found: model_files.SavedModel, text: str, number: int, temperature: float, key: Array
) -> str:
    """Returns what a model writes after a text of at least one character."""
    config = found.config
    characters = CharacterSet(config["characters"])
    sizes = len(characters.known), config["hidden_size"], config["embedding_size"]
    cell, model = make_model(config["cell"], *sizes)
    params = model_files.restore(found, model.init)
    tokens = characters.encode(text)[:, None]
    state, _ = sm.unroll(cell, params.cell, model.embed(params, jnp.asarray(tokens[:-1])))

    def step(state: State, token: Array) -> tuple[State, Array]:
        state, y_t = cell.step(params.cell, state, model.embed(params, token))
        log_probs = jax.nn.log_softmax(model.read(params, y_t))
        return state, log_probs.at[:, 0].set(-jnp.inf)  # the first stands for what is not known

    last = jnp.asarray(tokens[-1])
    written = decoding.sample(step, state, last, -1, number, key=key, temperature=temperature)
    return characters.decode(np.asarray(written.tokens[0]))


def predict(text: str) -> int:
    """Goes on with a text and prints both."""
    values = flags.FLAGS
    if not text:
        raise app.UserError("predict: got an empty text, expected one or more characters")
    found = saved_models.best(PROGRAM)
    unknown = sorted(set(text) - set(found.config["characters"]))
    if unknown:
        print(f"predict: not in the plays: {' '.join(map(ascii, unknown))}", file=sys.stderr)
    key = jax.random.key(values.sample_seed)
    print(text + go_on(found, text, values.characters, values.temperature, key))
    return 0


def evaluate() -> int:
    """Evaluates the models of a run on the held-out plays."""
    text = plays.load(flags.FLAGS.data_dir)
    records = []
    for name, seed, found in saved_models.every(PROGRAM):
        characters = CharacterSet(found.config["characters"])
        sizes = len(characters.known), found.config["hidden_size"], found.config["embedding_size"]
        cell, model = make_model(found.config["cell"], *sizes)
        params = model_files.restore(found, model.init)
        validation, test = (
            make_bits(cell, model, characters.encode(each))(params)
            for each in (text.validation, text.test)
        )
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        records.append(
            {"model": name, "seed": seed, "parameters": count, "seconds": 0.0}
            | {"validation_bits": validation, "test_bits": test}
        )
    shown = {"baselines": baselines(text, plays.character_set(text.train)), "results": records}
    report(shown, pathlib.Path())
    return 0


def main() -> int:
    """Trains, evaluates or writes, as the flags say. Returns the exit status."""
    values = flags.FLAGS
    try:
        if values.predict is not None:
            return predict(values.predict)
        if values.evaluate:
            return evaluate()
    except (ValueError, OSError) as error:
        raise app.UserError(str(error)) from None
    return runner.run(PROGRAM, OWN_FLAGS, build, report)
