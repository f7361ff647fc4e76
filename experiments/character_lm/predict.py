"""Use of a trained character language model: your own text, a picture, one file to serve."""

import jax
import jax.numpy as jnp
import numpy as np

import seqmodels as sm
from experiments.character_lm.config import PROGRAM, Actions
from experiments.character_lm.model import LanguageModel, restore, run_piece
from experiments.common import actions as common
from experiments.common import saved_models
from experiments.common.errors import UserError
from experiments.common.terminal import say
from seqmodels import plots
from seqmodels.data.streams import StreamBatch
from seqmodels.models import decoding
from seqmodels.types import Array, Params, State


def use(actions: Actions) -> None:
    """Generates text and exports the model, as the actions request.

    Raises:
      UserError: for a user error, with a message of one line.
    """
    try:
        text = "" if actions.predict is None else common.read_text(actions.predict)
        if actions.predict is not None and not text:
            raise UserError("predict: got an empty text, expected one or more characters")
        found = restore(saved_models.best(PROGRAM, actions.models.model_dir))
        if actions.predict is not None:
            show(found, text, actions)
        if actions.export is not None:
            export(found, actions.export)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error


def show(found: LanguageModel, text: str, actions: Actions) -> None:
    """Prints a text and its continuation, and draws the bits of each character.

    Args:
      found: the model.
      text: one or more characters.
      actions: how many characters, the temperature, the seed, and the file of the picture.
    """
    unknown = sorted(set(text) - set(found.config.characters))
    if unknown:
        say(f"predict: not in the plays: {' '.join(map(ascii, unknown))}", error=True)
    whole = text + generate(
        found,
        text,
        actions.characters,
        temperature=actions.temperature,
        key=jax.random.key(actions.sample_seed),
    )
    say(whole, lines=True)
    if actions.plot is not None:
        draw(found, whole, actions.plot)


def generate(
    found: LanguageModel, text: str, number: int, *, temperature: float, key: Array
) -> str:
    """Returns characters that a model draws after a text.

    Args:
      found: the model.
      text: one or more characters.
      number: number of characters to draw.
      temperature: below 1, probable characters become more probable.
      key: PRNG key.
    """
    (cell, model), params = found.network, found.params
    tokens = found.characters.encode(text)[:, None]
    state, _ = sm.unroll(cell, params.cell, model.embed(params, jnp.asarray(tokens[:-1])))

    def step(state: State, token: Array) -> tuple[State, Array]:
        state, y_t = cell.step(params.cell, state, model.embed(params, token))
        log_probs = jax.nn.log_softmax(model.read(params, y_t))
        return state, log_probs.at[:, 0].set(-jnp.inf)  # the first stands for unknown characters

    last = jnp.asarray(tokens[-1])
    drawn = decoding.sample(step, state, last, -1, number, key=key, temperature=temperature)
    return found.characters.decode(np.asarray(drawn.tokens[0]))


def bits_by_character(found: LanguageModel, text: str) -> np.ndarray:
    """Returns -log2 p of characters 2 to T of a text, given those before them, (T - 1,)."""
    tokens = found.characters.encode(text)[:, None]
    piece = StreamBatch(tokens[:-1], tokens[1:], np.ones(1, bool))
    cell = found.network.cell
    initial = cell.initial_state(found.params.cell, (1,))
    return np.asarray(run_piece(found.network, found.params, initial, piece)[1])[:, 0]


def draw(found: LanguageModel, text: str, path: str) -> None:
    """Writes the figure of the bits of each character of a text of at least two characters."""
    labels = [
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    ]
    figure = plots.prediction_by_word(
        labels[1:],
        {found.config.cell: bits_by_character(found, text).tolist()},
        ylabel="bits",
        title="Bits of each character, given the characters before it",
    )
    common.save_figure(figure, path)


def export(found: LanguageModel, path: str) -> None:
    """Writes one step of the model as one file for `seqmodels.serving.load`.

    It takes the last character, int32 (B,), and the leaves of the state, (B, H). It returns the
    log-probabilities (B, V) of the next character and the leaves of the next state. `about` holds
    the characters, and the values of the initial state for each leaf.
    """
    cell, model = found.network
    initial = cell.initial_state(found.params.cell, ())
    leaves, structure = jax.tree.flatten(initial)

    def apply(params: Params, token: Array, *state: Array) -> tuple[Array, ...]:
        state_t, y_t = cell.step(
            params.cell, jax.tree.unflatten(structure, state), model.embed(params, token)
        )
        return jax.nn.log_softmax(model.read(params, y_t)), *jax.tree.leaves(state_t)

    inputs = {"token": ("B", "int32")}
    for number, leaf in enumerate(leaves):
        shape = ", ".join(["B", *map(str, leaf.shape)])
        inputs[f"state_{number}"] = (shape, str(leaf.dtype))
    about = found.config._asdict() | {"initial_state": [leaf.tolist() for leaf in leaves]}
    common.export(path, apply, found.params, inputs, about=about)
