"""Options of the demonstration of unrolling."""

import dataclasses

from experiments.common.config import Options, option
from seqmodels.cells.catalog import CELLS

PROGRAM = "unrolling"


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the demonstration of unrolling."""

    cell: str = option("lstm", "The cell.", choices=tuple(CELLS))
    input_size: int = option(32, "Input features.", at_least=1, at_most=65_536)
    hidden: int = option(64, "Hidden units.", at_least=1, at_most=65_536)
    batch: int = option(16, "Sequences at once.", at_least=1, at_most=65_536)
    drawn: int = option(3, "Steps that are drawn.", at_least=1, at_most=8)
    lengths: tuple[int, ...] = option(
        (16, 64, 256), "Steps of the sequences that are measured.", at_least=1, at_most=100_000
    )
    longest_program: int = option(
        16,
        "Steps up to which the loop unrolled in one program is measured; its compile time grows "
        "with every step.",
        at_least=1,
        at_most=100_000,
    )
    longest_loop: int = option(
        64, "Steps up to which the Python loop is measured.", at_least=1, at_most=100_000
    )
    rounds: int = option(5, "Rounds of timing; the table shows medians.", at_least=1, at_most=1000)
    out: str = option("unrolling.png", "The picture; .svg works as well.", path=True)
