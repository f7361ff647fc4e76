"""Errors that a user can fix."""


class UserError(ValueError):
    """A user error with a message of one line, such as "hidden: got 0, expected ..."."""
