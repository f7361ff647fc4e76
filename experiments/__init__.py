"""Runnable studies: thin absl entry points over the library."""

from experiments.common import beginning

beginning.prepare()
