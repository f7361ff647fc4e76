"""Errors that a user can fix."""


class UserError(ValueError):
    """A mistake of the user as a message of one line, such as "hidden: got 0, expected ..."."""
