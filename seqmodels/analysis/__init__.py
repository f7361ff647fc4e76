"""The microscope: gates and gradients through time, and how far a memory reaches."""

from seqmodels.analysis.gate_summaries import memory, saturation, token_table
from seqmodels.analysis.gates import Trace, trace
from seqmodels.analysis.gradient_flow import state_gradient_norms
from seqmodels.analysis.statistics import horizon_threshold, mean_interval, memory_horizon

__all__ = [
    "Trace",
    "horizon_threshold",
    "mean_interval",
    "memory",
    "memory_horizon",
    "saturation",
    "state_gradient_norms",
    "token_table",
    "trace",
]
