"""Data parallelism on one machine: CPU cores as devices, rows of a batch over devices."""
