"""When beat's tick was last run: the database knows it, whichever process runs it."""

from models.database import Connection
from models.rows.upkeep import Reached

#: Seconds between two notes: a tick a second need not be a write a second.
NOTED_EVERY = 5.0
#: SQL: seconds since the last tick, within `NOTED_EVERY`; no row if there never was one.
TICK_AGE = f"""
SELECT extract(epoch FROM now() - reached_at)::float8 AS value FROM upkeep
WHERE kind = '{Reached.TICK}'
"""  # noqa: S608 - a constant


async def note_tick(connection: Connection) -> None:
    """Note that a tick is run now, unless one was noted a moment ago or is being noted."""
    await connection.execute(
        """
        INSERT INTO upkeep (kind, reached_at) SELECT %(kind)s, now()
        WHERE NOT EXISTS (SELECT FROM upkeep WHERE kind = %(kind)s
                          AND reached_at > now() - %(every)s * interval '1 second')
        ON CONFLICT (kind) DO UPDATE SET reached_at = excluded.reached_at
        """,
        {"kind": Reached.TICK, "every": NOTED_EVERY},
    )
