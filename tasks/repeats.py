"""A submission's caller and its first answer, which a repeat of the submission gets again."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from models import due
from models.database import Connection, fetch_row
from models.failure import Allowance, RequestRefused, job_deleted
from models.records import Json
from tasks.engine import Engine
from tasks.resent import First, Unkeyed, first_of, keep, patiently


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The request's headers that intake uses."""

    app_id: str | None = None
    #: The id of the API key; None over the broker.
    api_key: str | None = None
    idempotency_key: str | None = None
    #: SHA-256 of the body as canonical JSON.
    body_hash: bytes = b""
    #: Set where a repeat is known without an Idempotency-Key; there is none then.
    unkeyed: Unkeyed | None = None
    #: The fields of its own that a dialect's webhook event has, by the job's id.
    event_fields: Callable[[str], Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A durable job: a new one, or the one that this id, key or submission already has."""

    job_id: str
    lane: str
    #: The public view in the first response.
    view: Json = field(repr=False)
    is_repeat: bool = False
    #: What is left of the caller's limits; None without limits, and for a repeat.
    allowance: Allowance | None = None


def canonical_hash(body: object) -> bytes:
    """SHA-256 of a JSON value, independent of key order and white space."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A request that came with an Idempotency-Key, and its sealed first answer."""

    job: str
    deleted_at: datetime | None
    body_hash: bytes
    response: bytes = field(repr=False)


async def first_answer(
    engine: Engine, connection: Connection, tenant: str, caller: Caller
) -> Accepted | None:
    """The first response to what this repeats; a concurrent duplicate waits for the first.

    Raises:
        RequestRefused: the Idempotency-Key came with another body, or the job was deleted since.
        StillOpen: see `tasks.resent`.
    """
    if caller.idempotency_key is not None:
        return await _first_of_key(engine, connection, tenant, caller)
    if caller.unkeyed is not None:
        first = await first_of(connection, caller.unkeyed)
        return _again(engine, first) if first else None
    return None


async def first_or_refuse(
    engine: Engine, refusal: RequestRefused, *, tenant: str, caller: Caller
) -> Accepted:
    """The first response to what this repeats, although it could not be accepted today.

    Raises:
        RequestRefused: `refusal`, if it repeats nothing; or as `first_answer`.
    """
    if caller.idempotency_key is None and caller.unkeyed is None:
        raise refusal

    async def work(connection: Connection) -> Accepted:
        if first := await first_answer(engine, connection, tenant, caller):
            return first
        raise refusal  # what was found out is rolled back: it is up to a request that is accepted

    return await patiently(lambda: engine.database.run(work))


async def _first_of_key(
    engine: Engine, connection: Connection, tenant: str, caller: Caller
) -> Accepted | None:
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"{tenant}\n{caller.idempotency_key}",),
    )
    first = await fetch_row(
        connection,
        _Answered,
        """
        SELECT job, deleted_at, body_hash, response
        FROM idempotency JOIN job ON job.id = idempotency.job
        WHERE idempotency.tenant = %s AND key = %s
        """,
        (tenant, caller.idempotency_key),
    )
    if first is None:
        return None
    if first.body_hash != caller.body_hash:
        msg = "this Idempotency-Key was used with another request body"
        raise RequestRefused(msg, type="idempotency_mismatch", param="Idempotency-Key")
    return _again(engine, first)


def _again(engine: Engine, first: _Answered | First) -> Accepted:
    if first.deleted_at is not None:  # a second job would be paid for under the same request
        raise job_deleted(first.job, first.deleted_at)
    view = engine.vault.open_json(first.response)
    return Accepted(job_id=first.job, lane=due.NO_LANE, view=view, is_repeat=True)


async def remember(
    engine: Engine, connection: Connection, tenant: str, caller: Caller, view: Json
) -> None:
    """Keep the first answer, sealed, for the caller's repeats, if these can be known."""
    if caller.unkeyed is not None:
        await keep(engine, connection, caller.unkeyed, view)
    if caller.idempotency_key is None:
        return
    await connection.execute(
        """
        INSERT INTO idempotency (tenant, key, body_hash, job, response)
        VALUES (%s, %s, %s, %s, %s)
        """,
        (
            *(tenant, caller.idempotency_key, caller.body_hash),
            *(view["id"], engine.vault.seal_json(view)),
        ),
    )
