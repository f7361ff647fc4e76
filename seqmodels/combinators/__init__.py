"""Cells made of cells: stack, residual, dropout, bidirectional; the factories are `sm.stack`, ...

A combined cell steps like any cell, except a bidirectional pair, which needs the whole sequence. It
is unrolled cell by cell, so that each cell inside runs under its own best driver.
"""

from seqmodels.combinators.bidirectional import Bidirectional
from seqmodels.combinators.dropout import DropoutState

__all__ = ["Bidirectional", "DropoutState"]
