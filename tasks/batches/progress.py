"""What moves a batch on: its counts, the release of held lines, and the cancel of unwanted ones.

Every function runs in a transaction that has locked the batch's row first, and nothing of a job:
see `models.locks`. So two of them never release the same line, and never more than may run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from models import due, limits
from models.database import Connection, fetch_row, fetch_rows
from models.records import columns
from models.rows.batches import COUNTS, BatchRow
from models.state import FINAL_JOB_STATES
from tasks.making import HEAD_START

#: Lines that one transaction releases or cancels.
CHUNK = 300

_BATCH = columns(BatchRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that is a job, and its number."""

    id: str
    number: int


async def lock_batch(connection: Connection, batch_id: str) -> BatchRow | None:
    """Lock the batch's row; must come first in its transaction."""
    sql = f"SELECT {_BATCH} FROM batch WHERE id = %s FOR NO KEY UPDATE"  # noqa: S608 - columns of our own
    return await fetch_row(connection, BatchRow, sql, (batch_id,))


_FOLD = f"""
WITH gone AS (
    DELETE FROM batch_change WHERE batch = %(batch)s RETURNING {", ".join(COUNTS)}
), total AS (
    SELECT {", ".join(f"sum({name}) AS {name}" for name in COUNTS)} FROM gone HAVING count(*) > 0
)
UPDATE batch SET {", ".join(f"{name} = batch.{name} + total.{name}" for name in COUNTS)}
FROM total WHERE id = %(batch)s
RETURNING {columns(BatchRow, of="batch")}
"""  # noqa: S608 - columns of our own


async def fold(connection: Connection, batch: BatchRow) -> BatchRow:
    """Add the changes of its counts to its row, and delete exactly these; the row as it is then."""
    return await fetch_row(connection, BatchRow, _FOLD, {"batch": batch.id}) or batch


async def held_lines(connection: Connection, batch: BatchRow) -> list[Line]:
    """The next held lines, as many as may be released; locks the limits that say how many.

    Lines that ended while they were held are among them: they are looked at and passed over.
    """
    room = CHUNK
    if batch.concurrency is not None:
        room = min(room, batch.concurrency - batch.running)
    lines = await _lines_after(connection, batch, most=room) if room > 0 else []
    if not lines:
        return []
    held = await limits.hold(connection, tenant=batch.tenant, api_key=batch.api_key)
    return lines[: held.room(most=len(lines))]


async def _lines_after(connection: Connection, batch: BatchRow, *, most: int) -> list[Line]:
    sql = """
    SELECT id, batch_line AS number FROM job WHERE batch_id = %s AND batch_line > %s
    ORDER BY batch_line LIMIT %s
    """
    return await fetch_rows(connection, Line, sql, (batch.id, batch.released_to, most))


#: An attempt that a restore parked keeps its time: it is looked for before it is sent.
_RELEASE = """
WITH released AS (
    UPDATE due SET lane = %(no_lane)s
    WHERE what = 'expire' AND id = ANY(%(jobs)s) AND lane = %(held)s RETURNING id
), sent AS (
    UPDATE due SET at = CASE WHEN job.run_at > now() THEN job.run_at ELSE now()
        - interval '1 second' * (%(head_starts)s::jsonb ->> (job.request ->> 'priority'))::float8
        + interval '1 microsecond' * job.batch_line END
    FROM released JOIN job USING (id) JOIN attempt ON attempt.job = job.id
    WHERE due.what = 'submit' AND due.id = attempt.id
      AND attempt.state = 'planned' AND attempt.parked_at IS NULL
)
UPDATE batch SET running = running + (SELECT count(*) FROM released), released_to = %(to)s
WHERE id = %(batch)s
"""


async def release(connection: Connection, batch: BatchRow, lines: Sequence[Line]) -> None:
    """Let held lines be submitted, in their order; the caller has locked them with their due rows.

    A line counts as running from here to its end, as its `expire` row's lane says.
    """
    given = {
        "batch": batch.id,
        "jobs": [line.id for line in lines],
        "to": lines[-1].number,
        "no_lane": due.NO_LANE,
        "held": due.HELD_LANE,
        "head_starts": Jsonb(HEAD_START),
    }
    await connection.execute(_RELEASE, given)


async def unfinished_lines(connection: Connection, batch: BatchRow) -> list[Line]:
    """Some lines of a cancelled batch that have not ended, in their order.

    Those that its cancel has come to are not read again, unless none is left behind them.
    """
    found: list[Line] = []
    for after in dict.fromkeys((batch.cancelled_to, 0)):
        found = found or await unfinished_after(connection, batch, after=after)
    return found


async def unfinished_after(connection: Connection, batch: BatchRow, *, after: int) -> list[Line]:
    """Up to CHUNK lines behind a number that have not ended, in their order."""
    sql = """
    SELECT id, batch_line AS number FROM job
    WHERE batch_id = %s AND batch_line > %s AND NOT state = ANY(%s)
    ORDER BY batch_line LIMIT %s
    """
    given = (batch.id, after, list(FINAL_JOB_STATES), CHUNK)
    return await fetch_rows(connection, Line, sql, given)


async def note_cancelled(connection: Connection, batch: BatchRow, lines: Sequence[Line]) -> None:
    """Say that the batch's cancel has ended its lines up to the last of these."""
    sql = "UPDATE batch SET cancelled_to = greatest(cancelled_to, %s) WHERE id = %s"
    await connection.execute(sql, (lines[-1].number, batch.id))
