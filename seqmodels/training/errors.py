"""User-fixable errors concerning a run directory."""


class RunError(ValueError):
    """A run cannot start or resume; the message gives the reason in one line."""
