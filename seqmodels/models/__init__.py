"""Models made of a cell and what stands around it, each a pure `init` and `apply`."""
