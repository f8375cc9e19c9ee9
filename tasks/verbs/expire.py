"""Expire: end jobs whose deadline has passed, or that no provider accepted in time.

Running twice is harmless: a final job does not move, and a row that came early is put back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models import due
from models.database import Connection
from models.failure import Failure, Fault
from models.verbs import What
from scheduler.claim import Claimed
from tasks.engine import Engine
from tasks.outcomes.finish import end_with_stored_videos
from tasks.verbs.verb import Hold, Verb

EXPIRED = Failure(
    fault=Fault.TRANSIENT,
    code="deadline_exceeded",
    message="the job was not done by its deadline",
)
NOT_STARTED = Failure(
    fault=Fault.TRANSIENT,
    code="start_deadline_exceeded",
    message="no provider accepted the job before its start deadline",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiring:
    """A job that may be past one of its deadlines."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire(Verb[Expiring, Expiring]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.EXPIRE
    concurrency: int = 500
    each: int = 500
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[Expiring]:
        return [Expiring(id=row.id) for row in claimed]

    async def act(self, item: Expiring, hold: Hold) -> Expiring:
        del hold
        return item

    def jobs(self, results: Sequence[Expiring]) -> list[str]:
        return [one.id for one in results]

    async def write(self, connection: Connection, results: Sequence[Expiring]) -> None:
        """End the jobs that are late by the database's clock, under the rows' locks."""
        cursor = await connection.execute(
            """
            SELECT id, deadline_at <= now() AS is_over,
                   start_by <= now() AND accepted_at IS NULL AS is_late,
                   extract(epoch FROM deadline_at - now())::float8 AS remaining
            FROM job WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE
            """,
            ([one.id for one in results],),
        )
        jobs = await cursor.fetchall()
        over = {row["id"]: EXPIRED for row in jobs if row["is_over"]}
        late = {row["id"]: NOT_STARTED for row in jobs if row["is_late"] and not row["is_over"]}
        failures = over | late
        await end_with_stored_videos(self.engine, connection, failures)
        await due.drop(connection, self.what, list(failures))
        early = {row["id"]: row["remaining"] for row in jobs if row["id"] not in failures}
        await due.put_back(connection, self.what, list(early), after=list(early.values()))

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nothing: a deadline is enforced, however late."""
