"""The microscope: gates and gradients through time, and how far a memory reaches."""

from seqmodels.analysis.gate_summaries import memory, saturation, token_table
from seqmodels.analysis.gates import Trace, trace
from seqmodels.analysis.gradients import (
    clipping,
    fit_decay,
    leaf_gradient_norms,
    state_gradient_norms,
)
from seqmodels.analysis.jacobians import jacobian_product, lyapunov_exponents, spectral_radius
from seqmodels.analysis.statistics import horizon_threshold, mean_interval, memory_horizon

__all__ = [
    "Trace",
    "clipping",
    "fit_decay",
    "horizon_threshold",
    "jacobian_product",
    "leaf_gradient_norms",
    "lyapunov_exponents",
    "mean_interval",
    "memory",
    "memory_horizon",
    "saturation",
    "spectral_radius",
    "state_gradient_norms",
    "token_table",
    "trace",
]
