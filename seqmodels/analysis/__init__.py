"""The microscope: gradients through time, and how far a memory reaches."""

from seqmodels.analysis.gradient_flow import state_gradient_norms
from seqmodels.analysis.statistics import horizon_threshold, mean_interval, memory_horizon

__all__ = ["horizon_threshold", "mean_interval", "memory_horizon", "state_gradient_norms"]
