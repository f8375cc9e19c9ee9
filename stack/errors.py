"""What can keep a stack from running."""


class StackError(Exception):
    """The stack can't run here; the message says why and what to do."""
