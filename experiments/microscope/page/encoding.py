"""A subject as JSON values, arrays in base64."""

import base64
from typing import Any

import numpy as np

from experiments.microscope.page.subject import (
    CELLS,
    Adding,
    Numbers,
    PageModel,
    Subject,
    WordNgrams,
    Words,
)
from seqmodels.cells.gru import GRUParams
from seqmodels.cells.lstm import LSTMParams
from seqmodels.cells.rnn import RNNParams
from seqmodels.combinators.bidirectional import Bidirectional
from seqmodels.models.sequence_model import SequenceModelParams
from seqmodels.models.text_classifier import TextClassifierParams
from seqmodels.tasks.sky.task import QUESTION, SkyCorpus


def encoded(subject: Subject, precision: str = "f4") -> dict[str, Any]:
    """Returns a subject as values for JSON.

    Args:
      subject: the content of the page.
      precision: dtype of the embeddings: "f4", "f2", or "i1" for 8 bits with a scale for each row.

    Raises:
      ValueError: for a subject that the page cannot show.
    """
    for name in ("models", "sentences", "distances"):
        if not getattr(subject, name):
            raise ValueError(f"subject: {name}: got none, expected one or more")
    if list(subject.distances) != sorted(set(subject.distances)):
        raise ValueError(f"subject: distances: got {subject.distances}, expected ascending ones")
    return {
        "title": subject.title,
        "task": subject.task,
        "tokens": _tokens(subject.tokens),
        "classes": list(subject.classes),
        "models": [_model(subject, model, precision) for model in subject.models],
        "sentences": [sentence._asdict() for sentence in subject.sentences],
        "generator": _generator(subject),
        "distances": [int(distance) for distance in subject.distances],
        "max_words": subject.max_words,
        "centre": float(subject.centre),
        "command": subject.command,
        "precision": precision,
    }


def array(values: Any, precision: str = "f4") -> dict[str, Any]:
    """Returns an array as {shape, type, data}, little-endian in base64.

    Args:
      values: numbers.
      precision: "f4", "f2", "i4", or "i1": 8 bits and a float32 scale for each row.

    Raises:
      ValueError: for numbers that are not finite, or that the precision cannot hold.
    """
    values = np.asarray(values)
    with np.errstate(over="ignore"):
        stored = values.astype("<f4" if precision == "i1" else f"<{precision}")
    if not np.all(np.isfinite(stored)):
        raise ValueError(f"subject: got numbers that are not finite in {precision}")
    if precision == "i1":
        scale = np.maximum(np.abs(values).max(axis=1), 1e-12) / 127
        rounded = np.rint(values / scale[:, None]).astype(np.int8)
        return _packed(rounded, "i1") | {"scale": _packed(scale.astype("<f4"), "f4")}
    return _packed(stored, precision)


def _packed(values: np.ndarray, kind: str) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
    return {"shape": list(values.shape), "type": kind, "data": data}


def _tokens(tokens: Words | WordNgrams | Numbers) -> dict[str, Any]:
    if isinstance(tokens, Numbers):
        return {"kind": "numbers"}
    kind = "words" if isinstance(tokens, Words) else "ngrams"
    return {"kind": kind} | tokens._asdict()


def _generator(subject: Subject) -> dict[str, Any] | None:
    generator = subject.generator
    if generator is None:
        return None
    if isinstance(generator, Adding):
        tolerance = float(generator.tolerance)
        chance = 2 * tolerance - tolerance**2
        return {"kind": "adding", "tolerance": tolerance, "chance": chance}
    if not isinstance(generator, SkyCorpus):
        raise ValueError(
            f"subject: generator: got {type(generator).__name__}, expected SkyCorpus or Adding"
        )
    return {
        "kind": "sky",
        "clues": array(generator.test_clues, "i4"),
        "filler": array(generator.filler, "i4"),
        "lengths": array(generator.filler_lengths, "i4"),
        "question": [generator.words.index(word) for word in QUESTION],
        "chance": 1 / len(subject.classes),
    }


def _model(subject: Subject, model: PageModel, precision: str) -> dict[str, Any]:
    params = model.parameters
    if model.cell not in CELLS:
        raise ValueError(
            f"model {model.name}: cell: got {model.cell!r}, expected one of {', '.join(CELLS)}"
        )
    if not isinstance(params, SequenceModelParams | TextClassifierParams):
        raise ValueError(
            f"model {model.name}: parameters: got {type(params).__name__}, expected "
            "SequenceModelParams or TextClassifierParams"
        )
    layers = _layers(model)
    w_out, b_out = np.asarray(params.w_out), np.asarray(params.b_out)
    outputs = len(subject.classes) or 1
    if b_out.shape != (outputs,):
        raise ValueError(
            f"model {model.name}: b_out: got shape {b_out.shape}, expected ({outputs},)"
        )
    is_pooled = isinstance(params, TextClassifierParams)
    read_size = sum(cell["w_h"]["shape"][0] for cell in layers[-1])
    return {
        "name": model.name,
        "cell": model.cell,
        "distance": model.distance,
        "seed": model.seed,
        "accuracy": None if model.accuracy is None else float(model.accuracy),
        "embedding": None if params.embedding is None else array(params.embedding, precision),
        "layers": layers,
        "head": "pooled" if is_pooled else "last",
        "pool_words": is_pooled and len(w_out) > 2 * read_size,
        "w_out": array(w_out),
        "b_out": array(b_out),
    }


def _layers(model: PageModel) -> list[list[dict[str, Any]]]:
    """Returns the cells of each layer: one, or two of a bidirectional pair."""
    cells = model.parameters.cell
    kinds = RNNParams | GRUParams | LSTMParams | Bidirectional
    stacked = (cells,) if isinstance(cells, kinds) else tuple(cells)
    if not stacked:
        raise ValueError(f"model {model.name}: parameters.cell: got none, expected a cell")
    return [
        [_cell(model, cell) for cell in (layer if isinstance(layer, Bidirectional) else (layer,))]
        for layer in stacked
    ]


def _cell(model: PageModel, cell: Any) -> dict[str, Any]:
    if isinstance(cell, LSTMParams):
        kind = "lstm"
    elif isinstance(cell, GRUParams):
        kind = "gru" if cell.b_n is None else "gru_after"
    elif isinstance(cell, RNNParams):
        kind = "rnn_relu" if model.cell == "rnn_relu" else "rnn"
    else:
        raise ValueError(
            f"model {model.name}: parameters.cell: got {type(cell).__name__}, expected RNNParams, "
            "GRUParams, LSTMParams, Bidirectional, or a tuple of them"
        )
    fields = cell._asdict()
    initial = fields.pop("initial")
    fields |= {} if initial is None else initial._asdict()
    return {"kind": kind} | {k: array(v) for k, v in fields.items() if v is not None}
