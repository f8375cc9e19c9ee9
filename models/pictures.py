"""Pictures outside of their jobs' rows: kept with their first use, deleted with their last.

Whoever adds or removes a use has locked its job, and then locks the picture: so the last use that
is removed sees that it is the last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from models.database import Connection, Database, fetch_ids, fetch_rows
from models.invariant import Invariant, Over
from models.locks import lock_jobs
from models.rows.upkeep import Reached
from models.vault import Vault

#: Times that a picture is inserted or held, before its use fails.
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPicture:
    """A picture to keep: a data URI that is sealed, and the URI's length."""

    id: str
    sealed: bytes = field(repr=False)
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A picture of a job's scene, by its parameter."""

    name: str
    picture: str
    bytes: int
    fetched: bool


def id_of(vault: Vault, uri: bytes, *, tenant: str) -> str:
    """The id that a tenant's picture has, or would have."""
    return vault.digest(tenant.encode(), uri)


def seal(vault: Vault, uri: bytes, *, tenant: str) -> SealedPicture:
    """A tenant's picture: the same content has the same id, and another tenant's has another."""
    return SealedPicture(
        id=id_of(vault, uri, tenant=tenant), sealed=vault.seal(uri), bytes=len(uri)
    )


async def keep(
    connection: Connection,
    job: str,
    pictures: Mapping[str, SealedPicture],
    *,
    tenant: str,
    fetched: bool = False,
) -> None:
    """Insert the pictures of a job, by parameter; of each content one row is kept."""
    if not pictures:
        return
    each = {picture.id: picture for picture in pictures.values()}
    for _, picture in sorted(each.items()):
        await _insert_or_hold(connection, picture, tenant=tenant)
    await connection.execute(
        """
        INSERT INTO picture_use (job, name, picture, fetched)
        SELECT %s, name, picture, %s FROM unnest(%s::text[], %s::text[]) AS new(name, picture)
        """,
        (job, fetched, list(pictures), [picture.id for picture in pictures.values()]),
    )


async def _insert_or_hold(connection: Connection, picture: SealedPicture, *, tenant: str) -> None:
    """Insert a picture, or keep the one that is there from being deleted.

    The lock is shared: a picture may be in many requests at once.
    """
    hold = "SELECT id FROM picture WHERE id = %s FOR KEY SHARE"
    insert = """
    INSERT INTO picture (id, tenant, sealed, bytes) VALUES (%s, %s, %b, %s)
    ON CONFLICT (id) DO NOTHING RETURNING id
    """
    values = (picture.id, tenant, picture.sealed, picture.bytes)
    for _ in range(_TRIES):  # it may be inserted, or deleted, between the two
        if await fetch_ids(connection, hold, (picture.id,)):
            return
        if await fetch_ids(connection, insert, values):
            return


#: The tables of `stage`, and their columns.
STAGED: Final = {"staged_picture": "id, sealed, bytes", "staged_picture_use": "job, name, picture"}

_STAGE = (
    """
    CREATE TEMP TABLE IF NOT EXISTS staged_picture (
        id text COLLATE "C", sealed bytea, bytes integer) ON COMMIT DROP
    """,
    """
    CREATE TEMP TABLE IF NOT EXISTS staged_picture_use (
        job text COLLATE "C", name text COLLATE "C", picture text COLLATE "C") ON COMMIT DROP
    """,
)


async def stage(connection: Connection) -> None:
    """Make tables for the transaction in which many jobs' pictures wait to be kept.

    While they come, nothing that others wait for is locked: pictures are locked late, and in order.
    """
    for each in _STAGE:
        await connection.execute(each)


_MISSING_STAGED = """
WITH held AS (
    SELECT id FROM picture WHERE id IN (SELECT picture FROM staged_picture_use)
    ORDER BY id FOR KEY SHARE
)
SELECT picture FROM staged_picture_use WHERE picture NOT IN (SELECT id FROM held) LIMIT 1
"""
_INSERT_STAGED = """
INSERT INTO picture (id, tenant, sealed, bytes)
SELECT id, %s, sealed, bytes FROM staged_picture AS staged
WHERE EXISTS (SELECT FROM staged_picture_use WHERE picture = staged.id)
  AND NOT EXISTS (SELECT FROM picture WHERE picture.id = staged.id)
ORDER BY id ON CONFLICT (id) DO NOTHING
"""
_USE_STAGED = """
INSERT INTO picture_use (job, name, picture, fetched)
SELECT job, name, picture, false FROM staged_picture_use
"""


async def keep_staged(connection: Connection, *, tenant: str) -> None:
    """Keep the pictures that were staged, as `keep` does."""
    for _ in range(_TRIES):  # some may be inserted, or deleted, between the two
        await connection.execute(_INSERT_STAGED, (tenant,))
        if not await fetch_ids(connection, _MISSING_STAGED):
            break
    await connection.execute(_USE_STAGED)


async def uses_of(connection: Connection, job: str) -> dict[str, Use]:
    """The pictures of a job's scene that are kept, by parameter."""
    sql = """
    SELECT name, picture, bytes, fetched
    FROM picture_use JOIN picture ON picture.id = picture_use.picture
    WHERE job = %s ORDER BY name
    """
    return {use.name: use for use in await fetch_rows(connection, Use, sql, (job,))}


async def read(database: Database, picture: str) -> bytes | None:
    """One sealed picture; None if it was deleted."""

    async def work(connection: Connection) -> bytes | None:
        # In binary: as text it is twice as long.
        cursor = await connection.execute(
            "SELECT sealed FROM picture WHERE id = %s", (picture,), binary=True
        )
        row = await cursor.fetchone()
        return row["sealed"] if row else None

    return await database.run_statement(work)


async def forget(connection: Connection, jobs: Sequence[str]) -> None:
    """Remove all pictures of locked jobs."""
    await _forget(connection, "DELETE FROM picture_use WHERE job = ANY(%s)", jobs)


async def forget_fetched(connection: Connection, jobs: Sequence[str]) -> None:
    """Remove the fetched pictures of locked jobs that none of their attempts may need any more."""
    await _forget(connection, _FETCHED, jobs)


async def sweep(connection: Connection, *, most: int) -> int:
    """Remove what workers of the version before leave, which know of no pictures.

    Looks at the next `most` uses and the next `most` pictures, and goes on there the next time;
    after the last ones it begins again. Returns how many pictures it removed.
    """
    jobs = await _walked(connection, Reached.PICTURE_USES, _NEXT_USES, most=most)
    needless = await fetch_ids(connection, f"{_NEEDLESS} AND job.id = ANY(%s)", (jobs,))
    await lock_jobs(connection, needless)
    removed = await _forget(connection, _DELETE_NEEDLESS, needless)
    looked_at = await _walked(connection, Reached.PICTURES, _NEXT_PICTURES, most=most)
    left = f"""
    SELECT id FROM picture WHERE id = ANY(%s) AND {_UNUSED} ORDER BY id FOR UPDATE SKIP LOCKED
    """  # noqa: S608 - a constant
    unused = await fetch_ids(connection, left, (looked_at,)) if looked_at else []
    return removed + await _delete_unused(connection, unused)


_NEXT_USES = "SELECT DISTINCT job FROM picture_use WHERE job > %s ORDER BY job LIMIT %s"
_NEXT_PICTURES = "SELECT id FROM picture WHERE id > %s ORDER BY id LIMIT %s"


async def _walked(connection: Connection, kind: Reached, sql: str, *, most: int) -> list[str]:
    """The next ids after those of the last time; none at the end, after which it begins again."""
    reached = await fetch_ids(
        connection, "SELECT coalesce(reached_id, '') FROM upkeep WHERE kind = %s", (kind,)
    )
    ids = await fetch_ids(connection, sql, (reached[0] if reached else "", most))
    last = ids[-1] if len(ids) == most else ""
    if last != (reached[0] if reached else ""):
        await connection.execute(
            """
            INSERT INTO upkeep (kind, reached_id) VALUES (%s, %s)
            ON CONFLICT (kind) DO UPDATE SET reached_id = excluded.reached_id
            """,
            (kind, last),
        )
    return ids


async def _forget(connection: Connection, sql: str, jobs: Sequence[str]) -> int:
    if not jobs:
        return 0
    unused = await fetch_ids(connection, f"{sql} RETURNING picture", (list(jobs),))
    if not unused:
        return 0
    lock = "SELECT id FROM picture WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
    await connection.execute(lock, (unused,))
    return await _delete_unused(connection, unused)


async def _delete_unused(connection: Connection, locked: Sequence[str]) -> int:
    if not locked:
        return 0
    # A statement after the lock, because it must see what the previous lock holders wrote.
    cursor = await connection.execute(
        f"DELETE FROM picture WHERE id = ANY(%s) AND {_UNUSED}",  # noqa: S608 - a constant
        (list(locked),),
    )
    return cursor.rowcount


_UNUSED = "NOT EXISTS (SELECT 1 FROM picture_use WHERE picture_use.picture = picture.id)"
_FETCHED = """
DELETE FROM picture_use WHERE job = ANY(%s) AND fetched AND NOT EXISTS (
    SELECT 1 FROM attempt JOIN job ON job.id = attempt.job
    WHERE attempt.job = picture_use.job AND attempt.state IN ('planned', 'sent', 'unknown')
      AND job.finished_at IS NULL)
"""

_IS_NEEDLESS = """job.id = picture_use.job
    AND (job.erased_at IS NOT NULL OR (picture_use.fetched AND job.finished_at IS NOT NULL))"""
_NEEDLESS = f"SELECT DISTINCT job.id FROM picture_use, job WHERE {_IS_NEEDLESS}"  # noqa: S608 - a constant
_DELETE_NEEDLESS = f"DELETE FROM picture_use USING job WHERE {_IS_NEEDLESS} AND job.id = ANY(%s)"  # noqa: S608 - a constant

_USED = "a picture is used by a job of its tenant, and no picture that is used is missing"
PICTURES: Final = (
    Invariant(
        "picture_unused",
        _USED,
        """
        SELECT picture.id FROM picture WHERE NOT EXISTS (
            SELECT 1 FROM picture_use JOIN job ON job.id = picture_use.job
            WHERE picture_use.picture = picture.id AND job.tenant = picture.tenant)
        """,
        Over.PICTURES,
    ),
    Invariant(
        "picture_unused",
        _USED,
        """
        SELECT picture_use.job AS id FROM picture_use
        LEFT JOIN picture ON picture.id = picture_use.picture WHERE picture.id IS NULL
        """,
    ),
    Invariant(
        "picture_kept",
        "an erased job has no picture, and one that is final has none that was fetched for it",
        _NEEDLESS,
    ),
)
