"""Functions from arrays to Matplotlib figures; nothing is drawn on a screen."""

from seqmodels.plots.activations import activation_functions
from seqmodels.plots.classification import (
    confusion_matrices,
    image_probabilities,
    prediction_by_word,
)
from seqmodels.plots.correlogram import Panel, correlograms
from seqmodels.plots.distance import accuracy_by_distance, gradient_by_distance
from seqmodels.plots.files import save
from seqmodels.plots.forecast import forecasts
from seqmodels.plots.gates import (
    CellCurve,
    answers_by_word,
    gate_heat_maps,
    gradient_by_steps,
    horizon_by_distance,
)
from seqmodels.plots.ratios import ratios_by_shape
from seqmodels.plots.scores import ScorePanel, score_intervals
from seqmodels.plots.step import unrolled
from seqmodels.plots.text import attention_map, captioned_picture, contact_sheet

__all__ = [
    "CellCurve",
    "Panel",
    "ScorePanel",
    "accuracy_by_distance",
    "activation_functions",
    "answers_by_word",
    "attention_map",
    "captioned_picture",
    "confusion_matrices",
    "contact_sheet",
    "correlograms",
    "forecasts",
    "gate_heat_maps",
    "gradient_by_distance",
    "gradient_by_steps",
    "horizon_by_distance",
    "image_probabilities",
    "prediction_by_word",
    "ratios_by_shape",
    "save",
    "score_intervals",
    "unrolled",
]
