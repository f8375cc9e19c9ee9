"""What a command ends with when it can't do its work: a sentence and an exit code.

CommandError
├── Refused        2   what was asked can't be done; the message says what is allowed
├── NotReached     3   nobody answers; the message says who was asked
└── JobFailed      1   the job itself ended without a video
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The command's answer to a script; a usage error is REFUSED, Ctrl-C is 130."""

    OK = 0
    JOB_FAILED = 1
    REFUSED = 2
    NOT_REACHED = 3
    INTERRUPTED = 130


class CommandError(Exception):
    """The message is for the person at the terminal."""

    exit_code = ExitCode.REFUSED


class Refused(CommandError):
    """What was asked can't be done."""


class NotReached(CommandError):
    """Nobody answers."""

    exit_code = ExitCode.NOT_REACHED


class JobFailed(CommandError):
    """The job ended without a video."""

    exit_code = ExitCode.JOB_FAILED
