"""Provider callbacks: each is only a hint that makes a poll or a look-up due.

The callback URL contains the attempt's marker, committed before its POST, so it proves knowledge of
that attempt. A callback that arrives before the operation id is known adopts that id, whatever the
attempt's state: it is evidence that the provider accepted the POST. The poll fetches the truth.
"""

import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from models import holders
from models.database import Connection
from models.failure import RequestRefused
from models.ids import looks_like_a_marker
from models.rows.attempts import PLAN
from models.verbs import What
from providers.base import Accepted, Provider, can_be_asked
from providers.registry import PROVIDERS
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.evidence import is_same

log = structlog.get_logger()

_UNKNOWN_ADDRESS = "this callback address is not known"
#: Sorts after every character of a marker; the column has the collation C.
_AFTER_ALL: Final = "{"
#: Characters of a token that find its attempt: 60 random bits.
_FOUND_BY: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A callback's effect: the kind and lane to hint at, or the reply that its vendor expects."""

    what: What
    lane: str
    #: A JSON body; None if the callback was a notification, which needs no reply.
    reply: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """The attempt that a callback URL names."""

    id: str
    marker: str
    operation_id: str | None
    account: str
    #: The upstream model.
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A callback whose address is known; its body may be read now."""

    attempt: _Attempt
    speaker: Provider

    @property
    def most(self) -> int:
        """Bytes of a body that are read."""
        return self.speaker.callback_limit


async def called(engine: Engine, provider: str, token: str) -> Called:
    """The attempt that a callback's address names; reads only.

    Raises:
        RequestRefused: no attempt has this address.
    """
    speaker = PROVIDERS.get(provider)
    attempt = await _attempt(engine, provider, token)
    if speaker is None or attempt is None:  # a provider may be of another version
        raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
    return Called(attempt=attempt, speaker=speaker)


async def take(
    engine: Engine, call: Called, *, headers: Mapping[str, str], body: bytes | None
) -> Heard:
    """Record a provider's callback; idempotent. `body` is None if it was too large to be read.

    A reply (to a challenge) is given only for a known attempt, and changes nothing. A body that was
    not read proves and tells nothing: the poll becomes due, and no operation is adopted.

    Raises:
        RequestRefused: the provider's signature is wrong.
    """
    attempt, speaker = call.attempt, call.speaker
    heard = Heard(what=What.POLL, lane=attempt.account)
    if body is not None:
        secret = engine.callback_secret(attempt.account)
        if not speaker.callback_is_genuine(headers, body, secret=secret, now=time.time()):
            log.warning("callback.not_genuine", provider=speaker.name, attempt=attempt.id)
            raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
        if (reply := speaker.callback_reply(body)) is not None:
            return replace(heard, reply=reply)
        await _adopt(engine, call, speaker.callback_operation(body))
    kinds = [What.POLL]
    if can_be_asked(speaker.capabilities.look_up):
        kinds.append(What.LOOK_UP)
    await engine.database.run(lambda connection: _make_due(connection, kinds, attempt.id))
    return heard


async def hear(
    engine: Engine, provider: str, token: str, *, headers: Mapping[str, str], body: bytes
) -> Heard:
    """`called` and `take` of a callback whose body is here; raises as both."""
    return await take(engine, await called(engine, provider, token), headers=headers, body=body)


async def _adopt(engine: Engine, call: Called, told: str | None) -> None:
    """Record the operation that a callback names, if it is news."""
    attempt = call.attempt
    if told is None or is_same(attempt.operation_id, told):
        return
    operation = call.speaker.operation_told(told, upstream=attempt.upstream)
    log.info("callback.adopted", attempt=attempt.id, operation=operation)
    await record_accepted(engine, attempt.id, Accepted(operation_id=operation))


async def _attempt(engine: Engine, provider: str, token: str) -> _Attempt | None:
    """The attempt with this marker.

    The index is asked for the token's first characters alone, and the whole is compared here: how
    long an answer takes then tells nothing about the others, 70 random bits.
    """
    if not looks_like_a_marker(token):
        return None
    first = token[:_FOUND_BY]
    found = await engine.database.fetch(
        f"""
        SELECT attempt.id, attempt.marker, attempt.operation_id, attempt.account,
               {PLAN} ->> 'upstream' AS upstream
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE marker >= %s AND marker < %s AND attempt.provider = %s
        """,  # noqa: S608 - a constant
        (first, first + _AFTER_ALL, provider),
        row=_Attempt,
    )
    same = [each for each in found if hmac.compare_digest(each.marker, token)]
    return same[0] if same else None


async def _make_due(connection: Connection, kinds: Sequence[What], attempt: str) -> None:
    """Make rows of these kinds due now; a leased row is left to its lease holder.

    Who watches the operation is told to look at it. A look-up that only waits for a callback stays
    as it is: its turn ends the waiting, and a callback that can't be read is no reason to end it.
    """
    await connection.execute(
        """
        UPDATE due SET at = least(at, now())
        WHERE what = ANY(%s) AND id = %s AND lease IS NULL
        """,
        (list(kinds), attempt),
    )
    await holders.nudge(connection, [attempt])
