"""Retention: deletes events, tries, dead letters, finished jobs and videos past their age limits.

Deletions run in small batches and short transactions, so that other transactions don't wait for
them; what is deleted takes turns, and the next run continues. A job whose attempt may still cost
money is kept until it is settled. Rows go first, and what they named in the storage is removed
afterwards (`tasks.upkeep.removals`): nothing leads to an object that is gone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from models import pictures
from models.database import Connection, fetch_ids
from models.locks import lock_jobs
from storage.receive import ABANDONED_AFTER, remove_abandoned
from tasks.engine import Engine
from tasks.upkeep import old_rows
from tasks.upkeep.overlooked import charge_overlooked, enter_overlooked
from tasks.upkeep.removals import remove_some

log = structlog.get_logger()

#: Rows of one deletion; events and tries that one statement looks at.
BATCH, WINDOW = 500, 2000
#: Time after which a run begins no further round, in seconds.
RUN_SECONDS = 20.0
#: Hard timeout of a run, in seconds.
PRUNE_BOUND = 120.0
#: Days for which a failed video's link is kept: no provider's link is valid for longer.
KEEP_LINKS_DAYS = 30
#: What names objects of the storage.
NAMING: Final = frozenset({"videos", "jobs"})


@dataclass(slots=True)
class Pruned:
    """The number of rows of each kind that a run deleted."""

    events: int = 0
    tries: int = 0
    #: Videos past their own limit; those of old jobs go with them.
    videos: int = 0
    jobs: int = 0
    #: Deliveries that belong to no job or batch; the others are deleted with theirs.
    deliveries: int = 0
    batches: int = 0
    keys: int = 0
    submissions: int = 0
    receivers: int = 0
    links: int = 0
    intake_failures: int = 0
    pictures: int = 0
    #: Objects that were removed from the storage.
    objects: int = 0
    #: Jobs that a worker of an older version had not charged.
    charged: int = 0
    #: Jobs whose usage such a worker did not enter.
    entered: int = 0

    def __str__(self) -> str:
        return " ".join(f"{name}={getattr(self, name)}" for name in Pruned.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walked:
    """One step of a walk in the order of ids."""

    deleted: int
    last: int | None
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Old:
    """A job past its age limit; `is_over` says that nothing needs it any more."""

    id: str
    finished_at: datetime
    is_over: bool


#: Deletes a bounded number of rows; returns how many, and whether there may be more.
Slice = Callable[[], Awaitable[tuple[int, bool]]]


async def prune_once(engine: Engine, *, seconds: float = RUN_SECONDS) -> Pruned:
    """Delete rows and videos past their age limits; safe to interrupt.

    What is deleted takes turns, a slice at a time, until `seconds` are over; each has at least one
    turn. What fails has no further one, and is raised when the others are done.
    """
    run = _Run(engine=engine)
    left, until = run.slices(), time.monotonic() + seconds
    while left:
        again = {name: each for name, each in left.items() if await run.take(name, each)}
        if again.keys() & NAMING:  # what they name is to be removed after them
            again["objects"] = left["objects"]
        left = again
        if time.monotonic() >= until:
            break
    incoming = engine.settings.data_dir / "incoming"
    if incoming.is_dir():
        await asyncio.to_thread(remove_abandoned, incoming, older_than=ABANDONED_AFTER)
    log.info("pruned", **{name: getattr(run.done, name) for name in Pruned.__slots__})
    if run.failed:
        raise run.failed[0]
    return run.done


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run: what it has deleted, and how far its walks have come."""

    engine: Engine
    done: Pruned = field(default_factory=Pruned)
    failed: list[Exception] = field(default_factory=list)
    #: The last event and try that were looked at.
    after: dict[str, int] = field(default_factory=dict)
    #: The end and the id of the last job that was looked at.
    after_job: tuple[datetime, str] = (datetime(1970, 1, 1, tzinfo=UTC), "")

    def slices(self) -> dict[str, Slice]:
        """What is deleted, by its name in `Pruned`."""
        keep = self.engine.settings
        days = keep.keep_events_days
        links = min(keep.keep_videos_days or KEEP_LINKS_DAYS, KEEP_LINKS_DAYS)
        every: dict[str, Slice] = {
            "charged": self.charge,
            "entered": self.enter,
            "events": partial(self.walk, "events", old_rows.OLD_EVENTS, days),
            "tries": partial(self.walk, "tries", old_rows.OLD_TRIES, days),
            "keys": partial(self.delete, old_rows.OLD_KEYS, days),
            "submissions": partial(self.delete, old_rows.OLD_SUBMISSIONS, days),
            "receivers": partial(self.delete, old_rows.OLD_RECEIVERS, days),
            "links": partial(self.delete, old_rows.OLD_LINKS, links),
            "intake_failures": partial(self.delete, old_rows.OLD_INTAKE_FAILURES, days),
            "pictures": self.sweep_pictures,
        }
        if (days_of_videos := keep.keep_videos_days) is not None:
            every["videos"] = partial(self.delete, old_rows.OLD_VIDEOS, days_of_videos)
        if (days_of_jobs := keep.keep_jobs_days) is not None:
            every["jobs"] = partial(self.forget_jobs, days_of_jobs)
            every["batches"] = partial(self.delete, old_rows.OLD_BATCHES, days_of_jobs)
            every["deliveries"] = partial(self.delete, old_rows.OLD_DELIVERIES, days_of_jobs)
        return every | {"objects": partial(remove_some, self.engine)}

    async def take(self, name: str, slice_: Slice) -> bool:
        """One turn; returns whether it has another."""
        try:
            deleted, has_more = await slice_()
        except Exception as error:
            # The others have their turns all the same, and the caller is told at the end.
            log.exception("prune.failed", what=name)
            self.failed.append(error)
            return False
        setattr(self.done, name, getattr(self.done, name) + deleted)
        return has_more

    async def charge(self) -> tuple[int, bool]:
        return await self.engine.database.run(charge_overlooked)

    async def enter(self) -> tuple[int, bool]:
        return await self.engine.database.run(enter_overlooked)

    async def delete(self, sql: str, days: int) -> tuple[int, bool]:
        async def work(connection: Connection) -> int:
            cursor = await connection.execute(sql, {"days": days, "batch": BATCH})
            return cursor.rowcount

        deleted = await self.engine.database.run(work)
        return deleted, deleted == BATCH

    async def walk(self, name: str, sql: str, days: int) -> tuple[int, bool]:
        given = {
            "after": self.after.get(name, 0),
            "window": WINDOW,
            "days": days,
            "kept": list(old_rows.KEPT_EVENTS),
        }
        (walked,) = await self.engine.database.fetch(sql, given, row=_Walked)
        if walked.last is not None:
            self.after[name] = walked.last
        return walked.deleted, not walked.is_over

    async def sweep_pictures(self) -> tuple[int, bool]:
        return await self.engine.database.run(partial(pictures.sweep, most=BATCH)), False

    async def forget_jobs(self, days: int) -> tuple[int, bool]:
        at, id_ = self.after_job
        given = {"days": days, "batch": BATCH, "after_at": at, "after": id_}
        old = await self.engine.database.fetch(old_rows.OLD_JOBS, given, row=_Old)
        over = [each.id for each in old if each.is_over]
        gone = await self.engine.database.run(partial(_forget_jobs, over, days=days)) if over else 0
        if old:
            self.after_job = (old[-1].finished_at, old[-1].id)
        return gone, len(old) == BATCH


async def _forget_jobs(ids: Sequence[str], connection: Connection, *, days: int) -> int:
    """Delete those of the jobs that are still over, and have their videos removed."""
    await lock_jobs(connection, ids)
    given = {"ids": list(ids), "days": days}
    gone = await fetch_ids(connection, old_rows.STILL_OVER, given)
    await connection.execute(old_rows.REMOVE_VIDEOS, {"jobs": gone})
    await pictures.forget(connection, gone)
    await connection.execute(old_rows.FORGET_JOBS, {"ids": gone})
    return len(gone)
