"""Runnable studies: thin absl entry points over the library."""
