"""What a user can mend: mistakes about the folder of a run and what it holds."""


class RunError(ValueError):
    """A run cannot begin or go on, for a reason that the one line of its message names."""
