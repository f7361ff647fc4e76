"""Recurrent sequence models in JAX as pure functions.

    import seqmodels as sm

    cell = sm.lstm(input_size=64, hidden_size=128)
    params = cell.init(key)
    state, ys = sm.unroll(cell, params, xs)          # xs (T, B, D) -> ys (T, B, H)

`sm.cells` has the bare step functions, `sm.initializers` the initial values of parameters, and
`sm.weights` reads and writes the weights of other frameworks.
"""

from seqmodels import cells, weights
from seqmodels.cells import catalog, initializers
from seqmodels.cells.catalog import *  # noqa: F403
from seqmodels.cells.linear import make_linear_cell
from seqmodels.cells.products import matmul
from seqmodels.cells.stages import make_cell
from seqmodels.combinators.bidirectional import bidirectional
from seqmodels.combinators.dropout import dropout
from seqmodels.combinators.residual import residual
from seqmodels.combinators.stack import stack
from seqmodels.drivers.associative import associative
from seqmodels.drivers.chunked import chunked
from seqmodels.drivers.cudnn import cudnn
from seqmodels.drivers.fused.driver import fused
from seqmodels.drivers.newton.driver import newton
from seqmodels.drivers.scan import scan
from seqmodels.drivers.streaming import stream
from seqmodels.drivers.unroll import unroll, unroll_full
from seqmodels.parallel.cores import use_cpu_cores
from seqmodels.parallel.sharding import data_parallel
from seqmodels.types import Cell, Contract, Driver, DriverCall, GateValues, Info, Unrolled

__version__ = "0.1.0"

__all__ = [
    "Cell",
    "Contract",
    "Driver",
    "DriverCall",
    "GateValues",
    "Info",
    "Unrolled",
    "associative",
    "bidirectional",
    "cells",
    "chunked",
    "cudnn",
    "data_parallel",
    "dropout",
    "fused",
    "initializers",
    "make_cell",
    "make_linear_cell",
    "matmul",
    "newton",
    "residual",
    "scan",
    "stack",
    "stream",
    "unroll",
    "unroll_full",
    "use_cpu_cores",
    "weights",
]
__all__ += catalog.__all__
