"""Old snapshots: transactions that keep PostgreSQL from removing what is dead, and so slow us."""

from dataclasses import dataclass

from models.database import Connection

#: Seconds after which a snapshot is old: ours live for milliseconds, a dump's for minutes.
OLD = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OldSnapshot:
    """Who holds one, and for how long."""

    #: "pid 123 (pg_dump)", "replication slot standby" or "prepared transaction x".
    holder: str
    #: Since its transaction began; None for a replication slot, which does not tell.
    seconds: float | None


async def old_snapshots(connection: Connection, *, older_than: float = OLD) -> list[OldSnapshot]:
    """Those of this server, the oldest first. Only a superuser or pg_monitor sees others' all."""
    cursor = await connection.execute(
        """
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
        """,
        {"age": older_than},
    )
    return [OldSnapshot(**row) for row in await cursor.fetchall()]
