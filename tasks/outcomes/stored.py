"""Records the results of downloads: videos are stored, given up, or deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models import due
from models.advance import fail_outputs, tell
from models.database import Connection
from models.failure import Failure
from models.verbs import What
from storage.facts import Probe
from storage.receive import Received
from tasks.outcomes.finish import LEAVES_WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """The result of one claim: the stored video, or the failure and when to retry."""

    id: str
    job: str
    key: str | None = None
    received: Received | None = None
    probe: Probe | None = None
    failure: Failure | None = None
    #: Seconds until the next try; None when there is none.
    wait: float | None = None
    #: Whether this try makes the next wait longer.
    counts: bool = True
    #: The link that the provider has just returned, sealed.
    fresh: bytes | None = None
    #: The video is unwanted, and nothing of it is in our storage.
    is_swept: bool = False

    @property
    def word(self) -> str:
        """What became of it, as it is counted."""
        if self.key:
            return "stored"
        if self.is_swept:
            return "swept"
        return "lost" if self.wait is None else "again"


async def record_stored(connection: Connection, stored: Sequence[StoreResult]) -> list[str]:
    """Mark videos as stored; returns the ids of those that were still wanted."""
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


def _columns(rows: Sequence[StoreResult]) -> dict[str, list[Any]]:
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
    """Give videos up; their due rows stay, to delete what any try has left."""
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


async def record_fresh_links(connection: Connection, again: Sequence[StoreResult]) -> None:
    """Write links that the provider has just returned; their lifetimes start again."""
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
    """Drop the rows of deleted videos; one that was asked for since is due at once."""
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
