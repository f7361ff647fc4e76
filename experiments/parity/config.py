"""Options of the parity study."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.sections import SavingConfig, TrainingConfig
from seqmodels.cells.catalog import CELLS

PROGRAM = "parity"


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the parity study."""

    cells: tuple[str, ...] = option(("rnn", "gru", "lstm"), "Cells.", choices=tuple(CELLS))
    hidden: int = option(16, "Hidden units.", at_least=1, at_most=65_536)
    length: int = option(40, "Bits of a training string.", at_least=1, at_most=9999)
    lengths: tuple[int, ...] = option(
        (40, 64, 128, 256), "Bits of the test strings.", at_least=1, at_most=9999
    )
    training: TrainingConfig = section(TrainingConfig(steps=2000, batch=64, learning_rate="0.01"))
    saving: SavingConfig = section(SavingConfig())
