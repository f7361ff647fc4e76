"""Synthetic tasks whose batches are made on the device."""
