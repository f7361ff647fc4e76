"""The section gpu: equivalence of the drivers, times, and a rule for "auto"."""
