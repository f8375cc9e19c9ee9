"""A submission's caller and its first answer, which a repeat of the submission gets again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NoReturn

from models import due
from models.database import Connection, fetch_row
from models.failure import Allowance, RequestRefused, job_deleted
from models.records import Json
from tasks.engine import Engine
from tasks.resent import First, Unkeyed, first_of, keep, patiently

#: Characters of a long string that are hashed at a time.
_PIECE: Final = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The request's headers that intake uses."""

    app_id: str | None = None
    #: The id of the API key; None over the broker.
    api_key: str | None = None
    idempotency_key: str | None = None
    #: SHA-256 of the body as canonical JSON; of a batch, of its bytes.
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


@dataclass(frozen=True, slots=True)
class Hashed:
    """Stands for a JSON value of which only its canonical hash is needed."""

    canonical_hash: bytes


def canonical_hash(body: object) -> bytes:
    """SHA-256 of a JSON value, independent of key order and white space."""
    if isinstance(body, Hashed):
        return body.canonical_hash
    return hashlib.sha256(_canonical(body).encode(errors="surrogatepass")).digest()


def hashed(body: object) -> Hashed:
    """What stands for a large value; hashed piece by piece, so that other threads get turns."""
    digest = hashlib.sha256()
    for piece in _canonical_pieces(body):
        digest.update(piece.encode(errors="surrogatepass"))
    return Hashed(digest.digest())


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _canonical_pieces(value: object) -> Iterator[str]:
    match value:
        case str() if len(value) > _PIECE:
            yield '"'
            for begin in range(0, len(value), _PIECE):
                yield _canonical(value[begin : begin + _PIECE])[1:-1]
            yield '"'
        case dict() if value:
            for number, (name, each) in enumerate(sorted(value.items())):
                yield f"{',' if number else '{'}{_canonical(name)}:"
                yield from _canonical_pieces(each)
            yield "}"
        case list() if value:
            for number, each in enumerate(value):
                yield "," if number else "["
                yield from _canonical_pieces(each)
            yield "]"
        case _:
            yield _canonical(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A request that came with an Idempotency-Key, and its sealed first answer."""

    #: One of both is set.
    job: str | None
    batch: str | None
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
        return _again(engine, first.job, first) if first else None
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


async def first_batch(
    engine: Engine, connection: Connection, tenant: str, caller: Caller
) -> Json | None:
    """The first view of the batch that this Idempotency-Key has; a concurrent one is waited for.

    Raises:
        RequestRefused: the Idempotency-Key came with another body, or with a single request.
    """
    if caller.idempotency_key is None:
        return None
    first = await _answered(connection, tenant, caller)
    if first is None:
        return None
    view: Json = engine.vault.open_json(first.response)
    return view if first.batch is not None else _refuse_other_request()


async def _first_of_key(
    engine: Engine, connection: Connection, tenant: str, caller: Caller
) -> Accepted | None:
    first = await _answered(connection, tenant, caller)
    if first is None:
        return None
    return _again(engine, first.job or _refuse_other_request(), first)


async def _answered(connection: Connection, tenant: str, caller: Caller) -> _Answered | None:
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"{tenant}\n{caller.idempotency_key}",),
    )
    first = await fetch_row(
        connection,
        _Answered,
        """
        SELECT job, batch, deleted_at, body_hash, response
        FROM idempotency LEFT JOIN job ON job.id = idempotency.job
        WHERE idempotency.tenant = %s AND key = %s
        """,
        (tenant, caller.idempotency_key),
    )
    if first is not None and first.body_hash != caller.body_hash:
        _refuse_other_request()
    return first


def _refuse_other_request() -> NoReturn:
    msg = "this Idempotency-Key was used with another request body"
    raise RequestRefused(msg, type="idempotency_mismatch", param="Idempotency-Key")


def _again(engine: Engine, job: str, first: _Answered | First) -> Accepted:
    if first.deleted_at is not None:  # a second job would be paid for under the same request
        raise job_deleted(job, first.deleted_at)
    view = engine.vault.open_json(first.response)
    return Accepted(job_id=job, lane=due.NO_LANE, view=view, is_repeat=True)


async def remember(
    engine: Engine, connection: Connection, tenant: str, caller: Caller, view: Json
) -> None:
    """Keep the first answer, sealed, for the caller's repeats, if these can be known."""
    if caller.unkeyed is not None:
        await keep(engine, connection, caller.unkeyed, view)
    if caller.idempotency_key is not None:
        await _keep(engine, connection, tenant, caller, view, job=view["id"])


async def remember_batch(
    engine: Engine, connection: Connection, tenant: str, caller: Caller, view: Json
) -> None:
    """Keep the first answer, sealed, for repeats with the caller's Idempotency-Key."""
    if caller.idempotency_key is not None:
        await _keep(engine, connection, tenant, caller, view, batch=view["id"])


async def _keep(
    engine: Engine,
    connection: Connection,
    tenant: str,
    caller: Caller,
    view: Json,
    *,
    job: str | None = None,
    batch: str | None = None,
) -> None:
    await connection.execute(
        """
        INSERT INTO idempotency (tenant, key, body_hash, job, batch, response)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        (
            *(tenant, caller.idempotency_key, caller.body_hash),
            *(job, batch, engine.vault.seal_json(view)),
        ),
    )
