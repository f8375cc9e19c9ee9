"""Callbacks in: what a provider tells us, which is only ever a hint that makes a look due.

The address holds the attempt's marker, committed before its POST, so whoever knows it knows that
attempt. A callback that comes before the operation id is known adopts it, whatever the attempt's
state: it is evidence that the provider took the POST. The poll that follows fetches the truth.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from models.database import Connection
from models.failure import RequestRefused
from models.state import What
from providers.base import Accepted, can_be_asked
from providers.registry import PROVIDERS
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.evidence import is_same

log = structlog.get_logger()

_UNKNOWN_ADDRESS = "this callback address is not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a callback comes to: the kind and lane to hint at, or a reply that its vendor wants."""

    what: What
    lane: str
    #: JSON; None where it told something and wants nothing back.
    reply: bytes | None = None


async def hear(
    engine: Engine, provider: str, token: str, *, headers: Mapping[str, str], body: bytes
) -> Heard:
    """Take a provider's callback. Harmless to repeat.

    A reply is given at an address of ours alone, and changes nothing.

    Raises:
        RequestRefused: no attempt has this address, or the provider's signature is wrong.
    """
    attempt = await _attempt(engine, provider, token)
    speaker = PROVIDERS.get(provider)
    if speaker is None:  # of another version
        raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
    secret = engine.callback_secret(provider)
    if not speaker.callback_is_genuine(headers, body, secret=secret, now=time.time()):
        log.warning("callback.not_genuine", provider=provider, attempt=attempt["id"])
        raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
    heard = Heard(what=What.POLL, lane=attempt["account"], reply=speaker.callback_reply(body))
    if heard.reply is not None:
        return heard
    told = speaker.callback_operation(body)
    if told is not None and not is_same(attempt["operation_id"], told):
        operation = speaker.operation_told(told, upstream=attempt["upstream"])
        log.info("callback.adopted", attempt=attempt["id"], operation=operation)
        await record_accepted(engine, attempt["id"], Accepted(operation_id=operation))
    kinds = [What.POLL]
    if can_be_asked(speaker.capabilities.look_up):
        kinds.append(What.LOOK_UP)
    await engine.database.run(lambda connection: _make_due(connection, kinds, attempt["id"]))
    return heard


async def _attempt(engine: Engine, provider: str, token: str) -> dict[str, Any]:
    rows = await engine.database.fetch(
        """
        SELECT attempt.id, attempt.operation_id, attempt.account,
               job.plan ->> 'upstream' AS upstream
        FROM attempt JOIN job ON job.id = attempt.job WHERE marker = %s AND attempt.provider = %s
        """,
        (token, provider),
    )
    if not rows:
        raise RequestRefused(_UNKNOWN_ADDRESS, type="not_found")
    return rows[0]


async def _make_due(connection: Connection, kinds: Sequence[What], attempt: str) -> None:
    """Make rows of these kinds due now; a leased row is left to its holder.

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
