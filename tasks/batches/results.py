"""The results of a batch, line by line in input order, however far it is.

Pages of a few hundred lines are read one after the other, each by short statements without a
transaction around them: memory stays flat, and a slow reader holds nothing in the database.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from models.database import Connection, fetch_rows
from models.failure import RequestRefused
from models.records import Json
from models.rows.batches import BatchRow
from tasks.engine import Engine
from tasks.jobs import STATES
from tasks.view import ShownJob, job_view, read_jobs

#: Lines of one page.
PAGE = 200
#: What a line's status may be: a job's, or of a line that is no job or whose job was deleted.
STATUSES: Final = (*STATES, "invalid", "deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line that became a job."""

    id: str
    number: int
    custom_id: str | None
    deleted_at: datetime | None


async def results(
    engine: Engine, batch: BatchRow, *, status: str | None = None, after: int = 0
) -> AsyncIterator[Json]:
    """The lines of the batch behind line `after`, of any status or of one.

    A line that was left out as invalid appears in its place, of the first thousand such lines. A
    deleted job's line says so; one whose job is older than jobs are kept is not among them.
    """
    skipped = [each for each in batch.errors or [] if each["line"] > after]
    if status not in {None, "invalid"}:
        skipped = []
    more = status != "invalid"
    while more:
        lines = await engine.database.run_statement(
            lambda connection, after=after: _page(  # type: ignore[misc]
                *(connection, batch.id), after=after, status=status
            )
        )
        shown = await _shown(engine, lines)
        for line in lines:
            while skipped and skipped[0]["line"] < line.number:
                yield _skipped(skipped.pop(0))
            yield _view(engine, line, shown.get(line.id))
            after = line.number
        more = len(lines) == PAGE
    for each in skipped:
        yield _skipped(each)


def check_status(status: str) -> str:
    """The status; raises RequestRefused if no line has it."""
    if status not in STATUSES:
        message = f"status must be one of {', '.join(STATUSES)} (it is {status[:64]})"
        raise RequestRefused(message, param="status")
    return status


async def _page(
    connection: Connection, batch: str, *, after: int, status: str | None
) -> list[_Line]:
    sql = """
    SELECT id, batch_line AS number, custom_id, deleted_at FROM job
    WHERE batch_id = %(batch)s AND batch_line > %(after)s
      AND (%(status)s::text IS NULL OR CASE WHEN deleted_at IS NOT NULL THEN %(status)s = 'deleted'
                                            ELSE state = ANY(%(states)s) END)
    ORDER BY batch_line LIMIT %(most)s
    """
    states = list(STATES.get(status, ())) if status else []
    given = {"batch": batch, "after": after, "status": status, "states": states, "most": PAGE}
    return await fetch_rows(connection, _Line, sql, given)


async def _shown(engine: Engine, lines: Sequence[_Line]) -> dict[str, ShownJob]:
    ids = [line.id for line in lines if line.deleted_at is None]
    if not ids:
        return {}
    found = await engine.database.run_statement(lambda connection: read_jobs(connection, ids))
    return {job.id: job for job in found if job.deleted_at is None}


def _view(engine: Engine, line: _Line, job: ShownJob | None) -> Json:
    named = {"line": line.number, "custom_id": line.custom_id}
    if job is None:
        return {**named, "status": "deleted", "job": None, "error": None}
    view = job_view(job, api_url=engine.settings.api_url, vault=engine.vault)
    return {**named, "status": view["status"], "job": view, "error": view.get("error")}


def _skipped(error: Json) -> Json:
    return {
        "line": error["line"],
        "custom_id": error.get("custom_id"),
        "status": "invalid",
        "job": None,
        "error": {name: error.get(name) for name in ("code", "message", "param")},
    }
