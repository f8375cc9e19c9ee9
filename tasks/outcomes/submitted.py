"""The outcomes of a submit, as values, and the one `match` that records them."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, get_args

from models.accounts import Obstacle
from models.failure import Failure
from providers.base import Accepted
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.blocked import record_blocked
from tasks.outcomes.refused import record_refused, record_unsendable
from tasks.outcomes.unknown import mark_unknown
from tasks.outcomes.unsent import compare_again, move_on, postpone, prepare_first, put_off
from tasks.outcomes.waits import Queued, wait_for_account


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider provably refused the POST, and would refuse it again."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Unsendable:
    """The request can never be made, so nothing was sent."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Unknown:
    """The POST was sent and may have been accepted."""

    reason: str


@dataclass(frozen=True, slots=True)
class PutOff:
    """The POST provably reached nobody: the attempt is planned again, due in `wait` seconds."""

    reason: str
    wait: float
    #: Names the try, which may have marked the attempt as sent.
    token: str


@dataclass(frozen=True, slots=True)
class Limited:
    """The provider takes no more at the moment: planned again, at its place in the queue."""

    code: str
    token: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """The provider refuses the account, not the request: the attempt is planned again."""

    failure: Failure
    token: str


@dataclass(frozen=True, slots=True)
class HeldUp:
    """Like PutOff, but for so long that the gate's next model is to make the videos, if it can."""

    failure: Failure
    wait: float
    token: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The attempt can't be worked on yet: it stays as it is, due again in `wait` seconds."""

    wait: float


@dataclass(frozen=True, slots=True)
class Unprepared:
    """Its pictures must be fetched before it can be sent; it was due since then."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Waits:
    """The account takes no new submits, or none at this price: nothing was sent."""

    obstacle: Obstacle
    token: str


@dataclass(frozen=True, slots=True)
class Uncleared:
    """The database is not the one that was compared with the mark, so nothing was sent."""

    token: str


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The attempt is no longer there to be sent: it has moved on, or its job has ended."""


Outcome: TypeAlias = (
    Accepted
    | Refused
    | Unsendable
    | Unknown
    | PutOff
    | Limited
    | Blocked
    | HeldUp
    | Postponed
    | Unprepared
    | Waits
    | Uncleared
    | NotOurs
)


_WORDS: dict[type[object], str] = {
    each: re.sub(r"(?<!^)(?=[A-Z])", "_", each.__name__).lower() for each in get_args(Outcome)
}


def word_of(outcome: Outcome) -> str:
    """The outcome's name, as in `put_off`."""
    return _WORDS[type(outcome)]


async def record(  # noqa: C901, PLR0912 - a case for each outcome
    engine: Engine, item: Queued, outcome: Outcome, *, lease: str
) -> None:
    """Commit the outcome of one attempt's submit; `lease` is the claim on its due row."""
    match outcome:
        case Accepted():
            await record_accepted(engine, item.id, outcome)
        case Refused(failure):
            await record_refused(engine, item.id, failure)
        case Unsendable(failure):
            await record_unsendable(engine, item.id, failure, lease=lease)
        case Unknown(reason):
            await mark_unknown(engine, item.id, reason)
        case PutOff(reason, wait, token):
            await put_off(engine, item, reason, wait=wait, token=token, lease=lease)
        case Limited(code, token):
            await put_off(engine, item, code, at=item.since, token=token, lease=lease)
        case Blocked(failure, token):
            await record_blocked(engine, item, failure, token=token, lease=lease)
        case HeldUp(failure, wait, token):
            await move_on(engine, item, failure, wait=wait, token=token, lease=lease)
        case Postponed(wait):
            await postpone(engine, item.id, wait=wait, lease=lease)
        case Unprepared(since):
            await prepare_first(engine, item, since=since, lease=lease)
        case Waits(obstacle, token):
            await wait_for_account(engine, item, obstacle, token=token, lease=lease)
        case Uncleared(token):
            await compare_again(engine, item.id, token=token, lease=lease)
        case NotOurs():
            return  # its job's end, or another worker, has written it
