"""Shared code of the experiments: configuration, command line, trainer, saved models, report."""
