"""What came of downloads: videos become stored, or are lost, or leave nothing behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models import due
from models.advance import fail_outputs, tell
from models.database import Connection
from models.failure import Failure
from models.state import What
from storage.probe import Probe
from storage.receive import Received
from tasks.outcomes.finish import LEAVES_WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What came of one claim: the video is ours, or is left, or why not, and when to try again."""

    id: str
    job: str
    key: str | None = None
    received: Received | None = None
    probe: Probe | None = None
    failure: Failure | None = None
    #: Seconds until the next try; None gives the video up.
    wait: float | None = None
    #: Whether this try makes the next wait longer.
    counts: bool = True
    #: The link that the provider has just told, sealed.
    fresh: bytes | None = None
    #: Nobody wants the video, and nothing of it is in our storage.
    is_swept: bool = False


async def record_stored(connection: Connection, stored: Sequence[Brought]) -> list[str]:
    """Write that videos are ours; returns the ids of those that were still wanted."""
    rows = [one for one in stored if one.received and one.probe]
    if not rows:
        return []
    cursor = await connection.execute(
        """
        UPDATE output SET
            state = 'stored', source = NULL, source_at = NULL, error = NULL, stored_at = now(),
            recovered_at = CASE WHEN output.state = 'failed' THEN now() END,
            recovery_asked_at = NULL, key = new.key, sha256 = new.sha256, bytes = new.bytes,
            content_type = new.content_type, duration_seconds = new.duration_seconds,
            width = new.width, height = new.height, fps = new.fps
        FROM unnest(%(id)s::text[], %(key)s::text[], %(sha256)s::text[], %(bytes)s::bigint[],
                    %(content_type)s::text[], %(duration_seconds)s::float8[], %(width)s::int[],
                    %(height)s::int[], %(fps)s::float8[])
             AS new(id, key, sha256, bytes, content_type, duration_seconds, width, height, fps)
        WHERE output.id = new.id AND (output.state = 'ready' OR (
            output.state = 'failed' AND output.recovery_asked_at IS NOT NULL))
        RETURNING output.id, output.job, output.position, output.recovered_at
        """,
        _columns(rows),
    )
    moved = await cursor.fetchall()
    recovered = [row for row in moved if row["recovered_at"]]
    told = [(row["job"], {"output": row["position"]}) for row in recovered]
    await tell(connection, "output.recovered", told)
    return [row["id"] for row in moved]


def _columns(rows: Sequence[Brought]) -> dict[str, list[Any]]:
    probes = [one.probe for one in rows if one.probe]
    received = [one.received for one in rows if one.received]
    return {
        "id": [one.id for one in rows],
        "key": [one.key for one in rows],
        "sha256": [one.sha256 for one in received],
        "bytes": [one.bytes for one in received],
        **{
            name: [getattr(one, name) for one in probes]
            for name in ("content_type", "duration_seconds", "width", "height", "fps")
        },
    }


async def record_lost(connection: Connection, lost: Mapping[str, Failure]) -> None:
    """Give videos up; their rows stay, and make sure that no try has left anything."""
    if not lost:
        return
    await fail_outputs(connection, lost, of="id")
    cursor = await connection.execute(
        """
        UPDATE output SET recovery_asked_at = NULL
        WHERE id = ANY(%s) AND state = 'failed' AND recovery_asked_at IS NOT NULL
        RETURNING id, job, position
        """,
        (list(lost),),
    )
    told = [
        (row["job"], {"output": row["position"], "code": lost[row["id"]].code})
        for row in await cursor.fetchall()
    ]
    await tell(connection, "output.not_recovered", told)
    await due.postpone(connection, What.STORE, list(lost), seconds=LEAVES_WITHIN)


async def record_fresh_links(connection: Connection, again: Sequence[Brought]) -> None:
    """A link that the provider has just told begins a new life."""
    fresh = {one.id: one.fresh for one in again if one.fresh}
    if fresh:
        await connection.execute(
            """
            UPDATE output SET source = new.source, source_at = now()
            FROM unnest(%s::text[], %s::bytea[]) AS new(id, source)
            WHERE output.id = new.id AND output.state IN ('ready', 'failed')
            """,
            (list(fresh), list(fresh.values())),
        )


async def drop_swept(connection: Connection, ids: Sequence[str]) -> None:
    """These videos are gone; a row that is asked for since begins anew."""
    if not ids:
        return
    cursor = await connection.execute(
        """
        DELETE FROM due USING output
        WHERE due.what = %s AND due.id = ANY(%s) AND output.id = due.id
          AND output.state = 'failed' AND output.recovery_asked_at IS NULL
        RETURNING due.id
        """,
        (What.STORE, list(ids)),
    )
    dropped = {row["id"] for row in await cursor.fetchall()}
    kept = [id_ for id_ in ids if id_ not in dropped]
    await due.put_back(connection, What.STORE, kept, after=[0.0] * len(kept))
