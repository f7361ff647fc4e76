"""All devices of a machine for a function of a batch: CPU cores as devices, rows over devices."""
