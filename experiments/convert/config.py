"""Options of the conversion of weights."""

import dataclasses

from experiments.common.config import Options, option

PROGRAM = "convert"
SOURCES = ("torch", "keras", "flax", "linen", "nnx", "haiku", "equinox", "seqmodels")
TARGETS = (*SOURCES, "onnx")


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the conversion of weights."""

    source: str = option(
        "torch", "The framework of the input; flax is linen.", choices=SOURCES, flag="from"
    )
    input: str | None = option(None, "The file to read: .safetensors, .npz or .pt.", path=True)
    target: str = option(
        "seqmodels", "The framework of the output; flax is linen.", choices=TARGETS, flag="to"
    )
    output: str | None = option(None, "The file to write: .safetensors or .npz.", path=True)
    overwrite: bool = option(False, "Replace the output if it exists.")
    prefix: str = option(
        "", "Read only the arrays whose names begin with this text, and drop it.", empty=True
    )
    directions: int = option(
        0, "Directions of a layer, 1 or 2; 0: from the tensors.", at_least=0, at_most=2
    )
    activation: str = option(
        "tanh",
        "Activation of simple RNNs, which no file states; Haiku's is relu.",
        choices=("tanh", "relu"),
    )
    optimized: bool = option(False, "With --to=nnx: LSTMs for OptimizedLSTMCell.")
