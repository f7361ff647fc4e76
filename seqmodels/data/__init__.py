"""Data: synthetic tasks that are made on the device, and loaders of real data."""
