"""Lists of jobs: pages by filters, each of which reads a bounded number of rows.

A filter that few jobs or none match would otherwise read all jobs of its tenant. A page says where
its reading ended, and the next one goes on there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from models.database import Connection, fetch_ids, fetch_rows
from models.failure import RequestRefused
from models.state import FINAL_JOB_STATES, JobState
from tasks.engine import Engine
from tasks.jobs import STATES
from tasks.view import SELECT, ShownJob, read_jobs

#: Jobs that one page reads at most, whether they match or not.
WALK: Final = 4_000
#: Maximum number of words in a text filter.
MOST_WORDS: Final = 10

#: SQL: what narrows the jobs with some of the states, by an index of the few: the unfinished ones,
#: and those that were not complete.
_FEW: Final = (
    (frozenset(JobState) - FINAL_JOB_STATES, "finished_at IS NULL"),
    (frozenset({JobState.FAILED, JobState.CANCELLED}), "error IS NOT NULL"),
)
#: Bytes of prompts that one page searches for a text; the job that passes it is the last.
MOST_BYTES: Final = 8 * 2**20
#: Prefix of a regular expression of PostgreSQL whose rest is literal. These read a prompt once;
#: LIKE starts again at each character, so that "aa…ab" takes it 15 ms in a prompt "aa…a". A word
#: has at most 255 characters, which the API checks: one of 2,000 would take a minute a page.
_LITERAL: Final = "***="
#: SQL: the jobs whose id or Idempotency-Key is the text, by indexes.
_NAMED: Final = """
SELECT id FROM job
WHERE id IN (%(text)s,
             (SELECT job FROM idempotency WHERE tenant = %(tenant)s AND key = %(text)s))
  AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND deleted_at IS NULL
"""
#: SQL: the line of the job `after`.
_LINE: Final = "(SELECT last.batch_line FROM job AS last WHERE last.id = %(after)s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One page of jobs."""

    jobs: list[ShownJob]
    #: The job up to which was read, if others follow it and the page is not full; else None.
    walked_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs, and in which order: newest first unless `oldest_first`."""

    #: Whose; None: all tenants'.
    tenant: str | None
    status: str | None = None
    model: str | None = None
    app_id: str | None = None
    batch_id: str | None = None
    #: The one that its plan began with.
    provider: str | None = None
    #: Submitted from then on, and before then.
    since: datetime | None = None
    until: datetime | None = None
    #: Words in their prompts, in any order and case; or one job's id or Idempotency-Key.
    text: str | None = None
    oldest_first: bool = False

    @property
    def patterns(self) -> list[str] | None:
        """The words as literal regular expressions; None without a text."""
        words = self.text.split() if self.text else []
        return [_LITERAL + word for word in words] or None

    @property
    def key(self) -> str:
        """What the jobs are in the order of; lines of a batch are in that of their numbers."""
        return "id" if self.batch_id is None else "batch_line"

    @property
    def order(self) -> str:
        return f"job.{self.key} {'ASC' if self.oldest_first else 'DESC'}"

    def walk(self, *, after: str | None, is_named: bool = False) -> str:
        """SQL: the jobs that are read in their order, of which an index has no others.

        With `is_named` they are those of the parameter `named`.
        """
        wanted = ["true" if self.tenant is None else "job.tenant = %(tenant)s"]
        if is_named:
            wanted.append("job.id = ANY(%(named)s)")
        if self.batch_id is not None:
            wanted.append("job.batch_id = %(batch_id)s")
        states = frozenset(STATES[self.status]) if self.status else frozenset()
        if self.tenant is not None:  # the indexes of the few begin with the tenant
            wanted += [few for of, few in _FEW if states and states <= of]
        if after is not None:
            last = "%(after)s" if self.batch_id is None else _LINE
            wanted.append(f"job.{self.key} {'>' if self.oldest_first else '<'} {last}")
        return f"FROM job WHERE {' AND '.join(wanted)} ORDER BY {self.order}"


async def list_own(engine: Engine, wanted: Filter, *, limit: int, after: str | None) -> Listed:
    """Up to `limit` of a tenant's jobs that follow the job `after`.

    There may be fewer, or none, although others follow: see `Listed.walked_to`.

    Raises:
        RequestRefused: `status` is no public status, or `text` has too many words.
    """
    words = len(wanted.text.split()) if wanted.text is not None else 1
    if not 1 <= words <= MOST_WORDS:
        message = f"text must have 1 to {MOST_WORDS} words (it has {words})"
        raise RequestRefused(message, param="text")
    if wanted.status is not None and wanted.status not in STATES:
        message = f"status must be one of {', '.join(STATES)} (it is {wanted.status[:64]})"
        raise RequestRefused(message, param="status")
    return await engine.database.run(
        lambda connection: list_jobs(connection, wanted, limit=limit, after=after)
    )


async def list_jobs(
    connection: Connection, wanted: Filter, *, limit: int, after: str | None
) -> Listed:
    """As `list_own`, in a transaction of its own, with a status that is known."""
    # The page and where its reading ended are of one moment: of two, jobs that are new or have
    # ended between would make the next page skip a job or show it again.
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    named = await _named(connection, wanted)
    given: dict[str, object] = {
        "tenant": wanted.tenant,
        "named": named,
        "patterns": None if named else wanted.patterns,
        "batch_id": wanted.batch_id,
        "states": list(STATES[wanted.status]) if wanted.status else None,
        "model": wanted.model,
        "app_id": wanted.app_id,
        "provider": wanted.provider,
        "since": wanted.since,
        "until": wanted.until,
        "after": after,
        "limit": limit,
        "walk": WALK,
    }
    walk = wanted.walk(after=after, is_named=bool(named))
    if given["patterns"]:
        given["walk"] = await _within_bytes(connection, wanted, walk, given)
    # The jobs are found first, so that what a view needs is joined for these alone.
    found = f"""job.id = ANY(ARRAY(
        SELECT id FROM (
            SELECT job.id, state, model, app_id, deleted_at, created_at, plan, prompt
            {walk} LIMIT %(walk)s) AS walked
        WHERE deleted_at IS NULL
          AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
          AND (%(model)s::text IS NULL OR model = %(model)s)
          AND (%(app_id)s::text IS NULL OR app_id = %(app_id)s)
          AND (%(provider)s::text IS NULL OR plan ->> 'provider' = %(provider)s)
          AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
          AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
          AND (%(patterns)s::text[] IS NULL OR prompt ~* ALL(%(patterns)s))
        LIMIT %(limit)s))"""  # noqa: S608 - constants
    sql = SELECT.format(where=found, order=wanted.order)
    jobs = await fetch_rows(connection, ShownJob.read, sql, given)
    if len(jobs) == limit:
        return Listed(jobs=jobs)
    sql = f"SELECT job.id {walk} OFFSET %(walk)s - 1 LIMIT 1"
    last = await fetch_ids(connection, sql, given)
    return Listed(jobs=jobs, walked_to=last[0] if last else None)


async def _within_bytes(
    connection: Connection, wanted: Filter, walk: str, given: dict[str, object]
) -> int:
    """The number of jobs to read: WALK, or as many as have MOST_BYTES of prompts."""
    # The length of a long prompt is known without reading it.
    sql = f"""
    SELECT min(number) AS number FROM (
        SELECT row_number() OVER walked AS number, sum(octet_length(prompt)) OVER walked AS bytes
        FROM (SELECT job.{wanted.key}, prompt {walk} LIMIT %(walk)s) AS job
        WINDOW walked AS (ORDER BY {wanted.order} ROWS UNBOUNDED PRECEDING)) AS numbered
    WHERE bytes >= %(bytes)s
    """  # noqa: S608 - constants
    cursor = await connection.execute(sql, given | {"bytes": MOST_BYTES})
    row = await cursor.fetchone()
    return int(row["number"]) if row and row["number"] is not None else WALK


async def _named(connection: Connection, wanted: Filter) -> list[str]:
    """The jobs whose id or Idempotency-Key is the text."""
    if wanted.text is None:
        return []
    given = {"text": wanted.text, "tenant": wanted.tenant}
    return await fetch_ids(connection, _NAMED, given)


async def read_own(engine: Engine, ids: Sequence[str], *, tenant: str | None) -> list[ShownJob]:
    """Those of the jobs that are the tenant's, or for None anyone's, and not deleted."""
    printable = [each for each in ids if each.isprintable()]
    found = await engine.database.run(lambda connection: read_jobs(connection, printable))
    return [job for job in found if tenant in {None, job.tenant} and job.deleted_at is None]
