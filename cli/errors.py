"""Errors that end a command, each with a message and an exit code.

CommandError
├── Refused        2   the request cannot be carried out; the message says what is allowed
├── NotReached     3   no response; the message names the server
└── JobFailed      1   the job itself ended without a video
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes; a usage error is REFUSED, Ctrl-C is 130."""

    OK = 0
    JOB_FAILED = 1
    REFUSED = 2
    NOT_REACHED = 3
    INTERRUPTED = 130


class CommandError(Exception):
    """A failure whose message is shown to the user."""

    exit_code = ExitCode.REFUSED


class Refused(CommandError):
    """The request cannot be carried out."""


class NotReached(CommandError):
    """The API or database did not respond."""

    exit_code = ExitCode.NOT_REACHED


class JobFailed(CommandError):
    """The job ended without a video."""

    exit_code = ExitCode.JOB_FAILED
