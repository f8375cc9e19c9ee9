"""The error of a stack that can't run."""


class StackError(Exception):
    """The stack can't run here; the message says why and how to fix it."""
