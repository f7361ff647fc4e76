"""Character language models: construction, training, saving and restoring."""

import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.character_lm.config import PROGRAM
from experiments.character_lm.data import Data, training_batches
from experiments.common.jobs import Training
from seqmodels import model_files
from seqmodels.cells import catalog
from seqmodels.data.batches import Batches
from seqmodels.data.streams import StreamBatch, contiguous
from seqmodels.datasets.plays import CharacterSet
from seqmodels.model_files import SavedModel
from seqmodels.models.sequence_model import SequenceModel, sequence_model
from seqmodels.training.loop import Inspection
from seqmodels.training.optimizers import OptimizerSettings
from seqmodels.training.settings import FitSettings
from seqmodels.training.steps import Loss
from seqmodels.training.watch import Reading
from seqmodels.types import Array, Cell, Params, State

# Share of the pieces that begin with a fresh state in training. Where none does, a network learns
# nothing about how texts begin, and may never recover from the state that it starts in.
FRESH = 0.05
EVALUATED_ROWS, EVALUATED_STEPS = 16, 256  # streams that a text is cut into, and steps of a piece


class ModelConfig(NamedTuple):
    """Everything needed to rebuild a model; `characters` are those of its `CharacterSet`."""

    cell: str
    hidden_size: int
    embedding_size: int
    characters: str
    precision: str = "float32"


class Network(NamedTuple):
    """A cell and the model around it."""

    cell: Cell
    model: SequenceModel


class LanguageModel(NamedTuple):
    """A trained model: configuration, characters, network and parameters."""

    config: ModelConfig
    characters: CharacterSet
    network: Network
    params: Params


def build(config: ModelConfig) -> Network:
    """Returns the network of a configuration."""
    size = len(config.characters)
    sizes, dtype = (config.embedding_size, config.hidden_size), config.precision
    cell = catalog.CELLS[config.cell](*sizes, dtype=dtype)
    model = sequence_model(
        cell,
        hidden_size=config.hidden_size,
        output_size=size,
        vocabulary_size=size,
        embedding_size=config.embedding_size,
        dtype=dtype,
    )
    return Network(cell, model)


def run_piece(
    network: Network, params: Params, state: State, piece: StreamBatch
) -> tuple[State, Array]:
    """Returns the state after a piece, and -log2 p of each of its next characters, (T, B)."""
    cell, model = network
    resets = jnp.zeros(piece.inputs.shape, bool).at[0].set(piece.begins)
    xs = model.embed(params, jnp.asarray(piece.inputs))
    state, ys = sm.unroll(cell, params.cell, xs, state, resets=resets)
    log_probs = jax.nn.log_softmax(model.read(params, ys))
    right = jnp.take_along_axis(log_probs, jnp.asarray(piece.targets)[..., None], axis=-1)[..., 0]
    return state, -right / math.log(2)


def make_bits(network: Network, tokens: np.ndarray) -> Callable[[Params], float]:
    """Returns the function from parameters to the mean bits per character of a text.

    The text is read as at most 16 parallel streams, each from the cell's own initial state.

    Args:
      network: the network.
      tokens: int32 (N,), N at least 2.
    """
    rows = min(EVALUATED_ROWS, len(tokens) - 1)
    steps = min(EVALUATED_STEPS, (len(tokens) - 1) // rows)
    pieces = contiguous(tokens, rows, steps)
    stacked = jax.tree.map(
        lambda *leaves: np.stack(leaves), *[pieces.at(n) for n in range(pieces.per_epoch)]
    )

    @jax.jit
    def mean(params: Params, stacked: StreamBatch) -> Array:
        def step(state: State, piece: StreamBatch) -> tuple[State, Array]:
            state, bits = run_piece(network, params, state, piece)
            return state, jnp.mean(bits)

        initial = network.cell.initial_state(params.cell, (rows,))
        return jnp.mean(jax.lax.scan(step, initial, stacked)[1])

    return lambda params: float(mean(params, stacked))


def make_loss(network: Network) -> Callable[..., Loss]:
    """Returns `loss(params, piece, key, carry) -> Loss` of one piece; the state is the carry."""

    def loss(params: Params, piece: StreamBatch, key: Array, carry: State) -> Loss:
        fresh = jax.random.bernoulli(key, FRESH, piece.begins.shape)
        piece = piece._replace(begins=piece.begins | fresh)
        state, bits = run_piece(network, params, carry, piece)
        count = jnp.asarray(bits.size, bits.dtype)
        return Loss(jnp.sum(bits), count, carry=jax.lax.stop_gradient(state))

    return loss


def training(
    config: ModelConfig,
    data: Data,
    *,
    batch: int,
    length: int,
    optimizer: OptimizerSettings,
    fit: FitSettings,
    watching: Callable[..., Inspection | None] = lambda cell, read, batch: None,
) -> Training:
    """Returns the training of one model.

    Args:
      config: the model.
      data: the plays.
      batch: streams over all processes.
      length: steps of a piece.
      optimizer: settings of the optimizer.
      fit: settings of the training loop.
      watching: `watching(cell, read, batch)`, of `TrainingConfig`.
    """
    network = build(config)
    cell, model = network
    train, *held_out = (data.characters.encode(text) for text in data.text)
    validation_bits, test_bits = (make_bits(network, tokens) for tokens in held_out)

    def batches(seed: int, process: int, num_processes: int) -> Batches:
        return training_batches(train, seed, process, num_processes, batch=batch, length=length)

    def save(folder: pathlib.Path, seed: int, params: Any) -> None:
        model_files.save(folder, PROGRAM, config._asdict() | {"seed": seed}, params)

    def read(params: Params, piece: StreamBatch) -> Reading:
        def score(ys: Array) -> Array:
            log_probs = jax.nn.log_softmax(model.read(params, ys[-1]))
            right = jax.nn.one_hot(piece.targets[-1], log_probs.shape[-1])
            return jnp.sum(log_probs * right)

        return Reading(params.cell, model.embed(params, jnp.asarray(piece.inputs)), score=score)

    def watched_piece() -> StreamBatch:
        tokens = held_out[0]
        rows = min(EVALUATED_ROWS, len(tokens) - 1)
        return contiguous(tokens, rows, min(length, (len(tokens) - 1) // rows)).at(0)

    def initial_carry() -> State:
        return cell.initial_state(cell.init(jax.random.key(0)), (batch,))

    return Training(
        name=config.cell,
        init=model.init,
        loss=make_loss(network),
        batches=batches,
        evaluate=lambda params: {"validation_bits": validation_bits(params)},
        test=lambda seed, params: {"test_bits": test_bits(params)},
        save=save,
        optimizer=optimizer,
        fit=fit._replace(best="validation_bits", best_mode="min"),
        carry=jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(initial_carry)),
        watch=watching(cell, read, watched_piece),
    )


def restore(saved: SavedModel) -> LanguageModel:
    """Returns a saved model; ValueError in one line if its files do not match."""
    try:
        config = ModelConfig(
            **{n: saved.config[n] for n in ModelConfig._fields if n in saved.config}
        )
        network = build(config)
    except (TypeError, KeyError):
        raise ValueError(f"model: {saved.folder} was saved by another version") from None
    params = model_files.restore(saved, network.model.init)
    return LanguageModel(config, CharacterSet(config.characters), network, params)
