"""The outcome of each error of a submit, two of which leave the POST in doubt."""

import random
from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from models.accounts import Obstacle
from models.failure import Failure, Fault
from providers.base import ProviderError
from scheduler.intervals import Backoff, bounded
from tasks.outcomes.blocked import BLOCKS
from tasks.outcomes.submitted import (
    Blocked,
    HeldUp,
    Limited,
    Outcome,
    Postponed,
    PutOff,
    Refused,
    Uncleared,
    Unknown,
    Unprepared,
    Unsendable,
    Waits,
)
from tasks.pictures import BadPicture, LinksUnread, PictureTrouble
from tasks.restore.clearance import NotCleared
from tasks.upstream import NoCredentials
from transport.base import NotSent, Unanswered

#: Delays before retrying an attempt whose POST provably reached nobody.
BACKOFF = Backoff(base=1.0, ceiling=60.0)
#: A gate moves on to its next model after so many POSTs in a row that reached nobody or were put
#: off by the provider, or if the next POST would be later than so many seconds.
PATIENCE = 4
LONGEST_WAIT = 60.0
UNREACHABLE = Failure(
    fault=Fault.TRANSIENT,
    code="provider_unreachable",
    message="the provider could not be reached",
)
NO_CREDENTIALS = Failure(
    fault=Fault.AUTH, code="no_credentials", message="the account has no credentials"
)


class MayNotSpend(Exception):
    """The account is paused, or this attempt would take it past its cap."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.code)
        self.obstacle = obstacle


#: Errors that end a submit without an operation.
NO_OPERATION = (
    NoCredentials,
    LinksUnread,
    PictureTrouble,
    BadPicture,
    NotCleared,
    MayNotSpend,
    NotSent,
    Unanswered,
)


class Tried(Protocol):
    """The facts of a tried attempt that decide its outcome."""

    @property
    def rejections(self) -> int: ...

    @property
    def time_left(self) -> float:
        """Seconds until its job's deadline, or its deadline for starting."""

    @property
    def since(self) -> datetime: ...

    @property
    def has_fallbacks(self) -> bool: ...


def outcome_of_answer(
    item: Tried, error: ProviderError, *, refusals: Collection[int], token: str
) -> Outcome:
    """The outcome of an error response; `refusals` are the statuses that prove a refusal."""
    failure, fault = error.failure, error.failure.fault
    if error.status not in refusals:
        return Unknown(f"HTTP {error.status}: {failure.code}")
    asked = failure.retry_after
    is_long = (asked or 0.0) > LONGEST_WAIT
    if fault in BLOCKS and (is_long or fault is not Fault.RATE):
        return Blocked(failure, token)
    if not fault.may_be_tried_again:
        return Refused(failure)
    if fault is Fault.RATE and item.rejections + 1 < PATIENCE:
        return Limited(failure.code, token)
    return put_off(item, failure.code, asked=asked, token=token, failure=failure)


def outcome_without_answer(error: Exception, item: Tried, *, token: str) -> Outcome:
    """The outcome of an error other than a response of the provider."""
    match error:
        case NotCleared():
            return Uncleared(token)
        case MayNotSpend(obstacle=obstacle):
            return Waits(obstacle, token)
        case LinksUnread():
            return Unprepared(item.since)
        case BadPicture(failure=failure):
            return Unsendable(failure)
        case Unanswered():
            return Unknown(str(error))
        case _:
            return put_off(item, str(error), token=token, failure=_of_provider(error))


def left_by_its_worker(answered_in: float | None) -> Outcome:
    """Wait: the worker has lost the lease, but may be alive and still receive the answer."""
    wait = answered_in or 0.0
    return Postponed(wait) if wait > 0 else Unknown("the worker that sent it left no answer")


def _of_provider(error: Exception) -> Failure | None:
    """The failure that another provider might not have; None for an error of our own."""
    match error:
        case NotSent():
            return UNREACHABLE
        case NoCredentials():
            return NO_CREDENTIALS
        case _:
            return None


def put_off(
    item: Tried,
    reason: str,
    *,
    token: str,
    asked: float | None = None,
    failure: Failure | None = None,
) -> PutOff | HeldUp:
    """Try again later, or with the gate's next model; `asked` is the provider's Retry-After.

    `failure` is the provider's: without one the error is our own, and another would not help.
    """
    own = BACKOFF.wait(item.rejections, dice=random.random())
    wait = max(bounded(asked, time_left=item.time_left), own)
    is_long = item.rejections + 1 >= PATIENCE or (asked or 0.0) > LONGEST_WAIT
    if failure is not None and item.has_fallbacks and is_long:
        return HeldUp(failure, wait=wait, token=token)
    return PutOff(reason, wait=wait, token=token)
