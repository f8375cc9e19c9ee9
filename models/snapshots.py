"""Finds old snapshots: transactions that keep PostgreSQL from removing dead rows."""

from dataclasses import dataclass

from models.database import Connection

#: Age of an old snapshot, in seconds: ours last milliseconds, a dump's minutes.
OLD = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OldSnapshot:
    """A snapshot's holder and age."""

    #: "pid 123 (pg_dump)", "replication slot standby" or "prepared transaction x".
    holder: str
    #: Age of its transaction in seconds; None for a replication slot.
    seconds: float | None


#: SQL: every snapshot older than `age` seconds, the oldest first.
OLD_SNAPSHOTS = """
        SELECT 'pid ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') AS holder,
               extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
        FROM pg_stat_activity
        WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
          AND backend_type = 'client backend'
          AND xact_start < clock_timestamp() - %(age)s * interval '1 second'
        UNION ALL
        SELECT 'prepared transaction ' || gid,
               extract(epoch FROM clock_timestamp() - prepared)::float8
        FROM pg_prepared_xacts
        WHERE prepared < clock_timestamp() - %(age)s * interval '1 second'
        UNION ALL
        SELECT 'replication slot ' || slot_name, NULL FROM pg_replication_slots
        WHERE xmin IS NOT NULL AND NOT active
        ORDER BY seconds DESC NULLS LAST
"""


async def old_snapshots(connection: Connection, *, older_than: float = OLD) -> list[OldSnapshot]:
    """The old snapshots, oldest first; seeing all of them requires superuser or pg_monitor."""
    cursor = await connection.execute(OLD_SNAPSHOTS, {"age": older_than})
    return [OldSnapshot(**row) for row in await cursor.fetchall()]
