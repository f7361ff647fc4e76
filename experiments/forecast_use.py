"""What trained forecasters tell: the steps after the end, and their figures once more."""


def show() -> None:
    """Prints the future."""


def evaluate() -> None:
    """Prints the figures."""
