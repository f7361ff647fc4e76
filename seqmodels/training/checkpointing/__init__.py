"""Checkpoints: atomic per-step directories of arrays and manifests."""
