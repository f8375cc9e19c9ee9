"""Tells of jobs' moves once they are committed; whoever is told must not need it.

A move whose process dies right after its commit is told to nobody: what counts is in the database.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from models.database import Connection, after_commit

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A job's move to a state."""

    job: str
    tenant: str
    model: str
    #: A JobState.
    state: str
    #: Seconds since it was submitted, or since the start that it was scheduled for.
    age: float


#: Is called on the loop of the process, and must neither block nor take long.
Listener = Callable[[Sequence[Move]], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Tell `listener` of every move from now on, in this process."""
    if listener not in _listeners:
        _listeners.append(listener)


def forget(listener: Listener) -> None:
    """Tell `listener` no more."""
    if listener in _listeners:
        _listeners.remove(listener)


def is_listened_to() -> bool:
    return bool(_listeners)


def note(connection: Connection, moves: Sequence[Move]) -> None:
    """Tell of moves when the connection's transaction is committed."""
    if moves and _listeners:
        after_commit(connection, lambda: _tell(moves))


def _tell(moves: Sequence[Move]) -> None:
    for listener in _listeners:
        try:
            listener(moves)
        except Exception:
            log.exception("moves.not_told")
