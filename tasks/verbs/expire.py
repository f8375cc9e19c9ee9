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
        await finish(
            self.engine, connection, JobState.FAILED, ids, failures=dict.fromkeys(ids, EXPIRED)
        )
        await due.drop(connection, self.what, ids)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        await self.write(connection, [Expired(id=id_) for id_ in ids])
