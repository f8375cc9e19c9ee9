"""Expire: end jobs whose deadline has passed, in whatever state they are.

Running twice is harmless: a final job does not move.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models import due
from models.database import Connection
from models.failure import Failure, Fault
from models.state import JobState, What
from scheduler.claim import Claimed
from scheduler.pace import Pace
from tasks.engine import Engine
from tasks.finish import finish

EXPIRED = Failure(
    fault=Fault.TRANSIENT,
    code="deadline_exceeded",
    message="the job was not done by its deadline",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A job whose time is over."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.EXPIRE
    concurrency: int = 500
    each: int = 500
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[Expired]:
        return [Expired(id=row.id) for row in claimed]

    async def act(self, item: Expired, *, lease: str, pace: Pace) -> Expired:
        del lease, pace
        return item

    async def write(self, connection: Connection, results: Sequence[Expired]) -> None:
        ids = [one.id for one in results]
        have_video = await _with_a_video(connection, ids)
        for to, ended in (
            (JobState.COMPLETE, sorted(have_video)),
            (JobState.FAILED, sorted(set(ids) - have_video)),
        ):
            failures = dict.fromkeys(ended, EXPIRED)
            await finish(self.engine, connection, to, ended, failures=failures)
        await due.drop(connection, self.what, ids)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        await self.write(connection, [Expired(id=id_) for id_ in ids])


async def _with_a_video(connection: Connection, jobs: Sequence[str]) -> frozenset[str]:
    """Jobs that have something to show for their time: they are complete, without the rest."""
    await connection.execute(
        "SELECT id FROM job WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (list(jobs),)
    )
    cursor = await connection.execute(
        "SELECT DISTINCT job FROM output WHERE job = ANY(%s) AND state = 'stored'", (list(jobs),)
    )
    return frozenset(row["job"] for row in await cursor.fetchall())
