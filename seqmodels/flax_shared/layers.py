"""Layers of one cell as a stack: the cell of the native modules."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from seqmodels.cells.stages import check_size
from seqmodels.combinators.bidirectional import bidirectional
from seqmodels.combinators.dropout import dropout
from seqmodels.combinators.stack import stack
from seqmodels.types import Cell


class LayerOptions(NamedTuple):
    """Options of the layers; hashable.

    Attributes:
      factory: makes one cell, `factory(input_size, hidden_size, **cell_options)`.
      cell_options: pairs of an option's name and value.
      input_size: D.
      hidden_size: H, of one direction.
      num_layers: the number of layers; each reads the outputs of the one before.
      bidirectional: whether every layer reads in both directions.
      dropout: rate of dropout of the outputs of every layer but the last.
      recurrent_dropout: rate of dropout of the state where the matrices read it.
    """

    factory: Callable[..., Cell]
    cell_options: tuple[tuple[str, Any], ...]
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    recurrent_dropout: float


@functools.lru_cache(maxsize=256)
def layered_cell(options: LayerOptions) -> Cell:
    """Returns the stack of the layers; equal options give the same cell, so jit compiles once.

    Raises:
      ValueError: if a size or a rate is out of range.
      TypeError: if the factory has no such option.
    """
    check_size("layers", num_layers=options.num_layers)

    def one_direction(size: int) -> Cell:
        cell = options.factory(size, options.hidden_size, **dict(options.cell_options))
        rate = options.recurrent_dropout
        return dropout(cell, rate, recurrent=True) if rate else cell

    layers, size = [], options.input_size
    for number in range(options.num_layers):
        if options.bidirectional:
            layer = bidirectional(one_direction(size), one_direction(size))
        else:
            layer = one_direction(size)
        is_last = number == options.num_layers - 1
        drops = options.dropout and not is_last
        layers.append(dropout(layer, options.dropout) if drops else layer)
        size = options.hidden_size * (2 if options.bidirectional else 1)
    return stack(layers)
