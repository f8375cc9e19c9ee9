"""Provider callbacks: each is only a hint that makes a poll or a look-up due.

The callback URL contains the attempt's marker, committed before its POST, so it proves knowledge of
that attempt. A callback that arrives before the operation id is known adopts that id, whatever the
attempt's state: it is evidence that the provider accepted the POST. The poll fetches the truth.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from models.database import Connection
from models.failure import RequestRefused
from models.rows.attempts import PLAN
from models.verbs import What
from providers.base import Accepted, can_be_asked
from providers.registry import PROVIDERS
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.evidence import is_same

log = structlog.get_logger()

_UNKNOWN_ADDRESS = "this callback address is not known"


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
    operation_id: str | None
    account: str
    #: The upstream model.
    upstream: str


async def hear(
    engine: Engine, provider: str, token: str, *, headers: Mapping[str, str], body: bytes
) -> Heard:
    """Record a provider's callback; idempotent.

    A reply (to a challenge) is given only for a known attempt, and changes nothing.

    Raises:
        RequestRefused: no attempt has this address, or the provider's signature is wrong.
    """
    attempt = await _attempt(engine, provider, token)
    speaker = PROVIDERS.get(provider)
    if speaker is None:  # of another version
        raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
    secret = engine.callback_secret(attempt.account)
    if not speaker.callback_is_genuine(headers, body, secret=secret, now=time.time()):
        log.warning("callback.not_genuine", provider=provider, attempt=attempt.id)
        raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
    heard = Heard(what=What.POLL, lane=attempt.account, reply=speaker.callback_reply(body))
    if heard.reply is not None:
        return heard
    told = speaker.callback_operation(body)
    if told is not None and not is_same(attempt.operation_id, told):
        operation = speaker.operation_told(told, upstream=attempt.upstream)
        log.info("callback.adopted", attempt=attempt.id, operation=operation)
        await record_accepted(engine, attempt.id, Accepted(operation_id=operation))
    kinds = [What.POLL]
    if can_be_asked(speaker.capabilities.look_up):
        kinds.append(What.LOOK_UP)
    await engine.database.run(lambda connection: _make_due(connection, kinds, attempt.id))
    return heard


async def _attempt(engine: Engine, provider: str, token: str) -> _Attempt:
    found = await engine.database.fetch(
        f"""
        SELECT attempt.id, attempt.operation_id, attempt.account,
               {PLAN} ->> 'upstream' AS upstream
        FROM attempt JOIN job ON job.id = attempt.job WHERE marker = %s AND attempt.provider = %s
        """,  # noqa: S608 - a constant
        (token, provider),
        row=_Attempt,
    )
    if not found:
        raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
    return found[0]


async def _make_due(connection: Connection, kinds: Sequence[What], attempt: str) -> None:
    """Make rows of these kinds due now; a leased row is left to its lease holder.

    A look-up that only waits for a callback stays as it is: its turn ends the waiting, and a
    callback that can't be read is no reason to end it.
    """
    await connection.execute(
        """
        UPDATE due SET at = least(at, now())
        WHERE what = ANY(%s) AND id = %s AND lease IS NULL
        """,
        (list(kinds), attempt),
    )
