"""Training: optimizer steps, devices, run folders, progress."""
