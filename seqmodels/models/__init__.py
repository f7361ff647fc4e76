"""Models built on cells, each a pure `init` and `apply`."""
