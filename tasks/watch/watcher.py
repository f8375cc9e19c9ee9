"""The watcher of a process: looks at its operations on their own schedules until they end.

An operation that says nothing new leaves nothing in the database. What ends one stays here until it
is committed. Every write is guarded by the holder's id, so two processes that both believe they
watch an operation write its faults and its end once.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import uuid4

import structlog

from models import holders
from models.database import DatabaseAway
from models.verbs import What
from providers.base import Video
from scheduler.intervals import LOST_AFTER
from scheduler.pace import Pace
from scheduler.paces import EVERY as NOTES_EVERY
from tasks.ending import end
from tasks.engine import Engine
from tasks.outcomes.denied import answered_ago
from tasks.outcomes.polled import PollItem, Seen
from tasks.pump.parking import Reason, set_aside
from tasks.pump.running import pace_of
from tasks.pump.writer import Tally, Writer
from tasks.verbs.poll import Poll
from tasks.verbs.verb import Hold
from tasks.watch.heart import Heart
from tasks.watch.lane import Lane
from tasks.watch.letting_go import LettingGo
from tasks.watch.news import News
from tasks.watch.resident import Resident
from tasks.watch.taking import Taking
from tasks.watch.wheel import SLOT, Wheel

log = structlog.get_logger()

#: Seconds after which a look that met a database that was away is tried again.
_AGAIN: Final = 2.0
#: Bytes of videos in answers that come once, above which nothing more is looked at.
_HELD_BYTES: Final = 256 * 2**20
#: How often long-lived residents are taken out of the garbage collector's sight, in residents.
_FREEZE_EVERY: Final = 10_000


@dataclass(slots=True, kw_only=True)
class Watcher:
    """The operations that this process watches; one for each process, on its one loop."""

    engine: Engine
    stop: Callable[[], bool] = lambda: False
    id: str = field(default_factory=lambda: str(uuid4()))
    residents: dict[str, Resident] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    #: By account: when it last reported on any operation, by the monotonic clock.
    answered: dict[str, float] = field(default_factory=dict)
    is_over: bool = False
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    poll: Poll = field(init=False)
    news: News = field(init=False)
    heart: Heart = field(init=False)
    taking: Taking = field(init=False)
    letting_go: LettingGo = field(init=False)
    writer: Writer = field(init=False)
    _wheel: Wheel[Resident] = field(default_factory=lambda: Wheel(time.monotonic()))
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    #: Bytes of videos waiting to be written, by operation.
    _held: dict[str, int] = field(default_factory=dict)
    _frozen: int = 0

    def __post_init__(self) -> None:
        database = self.engine.database
        self.poll = Poll(engine=self.engine, keeps=True)
        self.writer = Writer(
            verb=self.poll,
            database=database,
            lease=self.id,
            tally=self.tally,
            outstanding=lambda: sum(len(lane.lookers) for lane in self.lanes.values()),
            settled=self._settled,
            lost=self.forget,
            keeps=True,
        )
        self.news = News(
            database=database, holder=self.id, residents=self.residents, lost=self.forget
        )
        self.heart = Heart(self)
        self.taking = Taking(self)
        self.letting_go = LettingGo(self)

    # -- life -----------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Register, and watch from now on. Raises DatabaseAway."""
        await self.heart.begin()
        works = (self._turn(), self.writer.run(), self.news.run(), self.heart.run(), self._notes())
        self._tasks = [asyncio.create_task(work) for work in works]
        for task in self._tasks:
            task.add_done_callback(self._look_after)

    def _look_after(self, task: asyncio.Task[None]) -> None:
        """A part that broke through our own fault: hand everything back, and let a new one begin.

        A heart that went on beating for a wheel that stands still would hold rows for ever.
        """
        if self.is_over or task.cancelled() or task.exception() is None:
            return
        log.error("watch.broke", watched=len(self.residents), exc_info=task.exception())
        self._tasks.append(asyncio.create_task(self.leave()))

    async def leave(self) -> None:
        """Hand everything back, each operation with its own time, and end. Repeatable."""
        if not self.is_over:
            self.is_over = True
            await self.letting_go.all()
            await self.abandon()
        await self._left.wait()

    async def abandon(self) -> None:
        """End at once: what was watched is others' by now, or will be."""
        self.is_over = True
        lookers = [task for lane in self.lanes.values() for task in lane.lookers]
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        self.residents.clear()
        try:
            await end(*lookers, *others)
        finally:
            self._left.set()

    async def _turn(self) -> None:
        """Release the looks whose time has come, slot by slot."""
        last = time.monotonic()
        while not self.is_over:
            await asyncio.sleep(SLOT)
            if self.stop():
                self._tasks.append(asyncio.create_task(self.leave()))
                return
            now = time.monotonic()
            if now - last > self.heart.every:  # we were frozen: we may have been declared dead
                await self.heart.beat()
                now = time.monotonic()
            last = now
            if self.heart.may_look and sum(self._held.values()) < _HELD_BYTES and not self.is_over:
                self.letting_go.goes_on()
                self._release(now)
            else:
                self.letting_go.was_held(now)

    def _release(self, now: float) -> None:
        for slot, resident in self._wheel.take(now):
            if resident.slot == slot and self.residents.get(resident.id) is resident:
                self.lanes[resident.item.account].ready.add(resident)
        for lane in self.lanes.values():
            if lane.ready:
                lane.start()

    async def _notes(self) -> None:
        """Exchange the paces of lanes that look; until cancelled."""
        while True:
            await asyncio.sleep(NOTES_EVERY)
            for lane in list(self.lanes.values()):
                if lane.notes is not None and lane.has_looked:
                    lane.has_looked = False
                    try:
                        await lane.notes.exchange()
                    except DatabaseAway:
                        break  # the next exchange tells all

    # -- who is watched -------------------------------------------------------------------------

    def admit(self, item: PollItem, at: float) -> None:
        """Watch an operation, and look at it at a time of the monotonic clock."""
        self.lane(item.account)
        resident = self.residents.get(item.id)
        if resident is None:
            resident = self.residents[item.id] = Resident(item=item, at=at)
        else:
            resident.renew(item)
        self.schedule(resident, at)

    def freeze(self) -> None:
        """After many were admitted: take them out of the garbage collector's sight."""
        if len(self.residents) - self._frozen >= _FREEZE_EVERY:
            self._frozen = len(self.residents)
            gc.collect()
            gc.freeze()
        elif len(self.residents) < self._frozen // 2:
            self._frozen = len(self.residents)

    def schedule(self, resident: Resident, at: float) -> None:
        """Look at a resident at a time of the monotonic clock."""
        resident.at = at
        resident.slot = self._wheel.put(resident, at)

    def forget(self, ids: Collection[str]) -> None:
        """Stop watching: they have ended, or are not ours."""
        for id_ in ids:
            self.residents.pop(id_, None)

    def lane(self, account: str) -> Lane:
        known = self.lanes.get(account)
        if known is None:
            notes = pace_of(What.POLL, self.engine, account)
            pace = notes.pace if notes else Pace(self.poll.concurrency)
            known = self.lanes[account] = Lane(
                pace=pace, hold=Hold(self.id, pace), look=self._look, notes=notes
            )
        return known

    # -- looking --------------------------------------------------------------------------------

    async def _look(self, lane: Lane, resident: Resident) -> None:
        now = time.monotonic()
        if self.residents.get(resident.id) is not resident or self.is_over:
            return
        if resident.is_looking or resident.is_ending or resident.at > now + SLOT:
            return  # it was put in twice
        self.letting_go.was_late(lane, resident.at, now)
        resident.age(now)
        resident.is_looking = True
        try:
            item = resident.item
            if item.is_wanted and (item.denied_for or 0.0) > LOST_AFTER:
                await self._read_answers_of_others(item)
            seen = await self.poll.act(item, lane.hold)
            self._learn(resident, seen)
        except DatabaseAway:
            self.schedule(resident, time.monotonic() + _AGAIN)
        except Exception:  # our own bug: only this row is postponed
            log.exception("watch.look_failed", id=resident.id)
            await self.put_aside(resident.id, Reason.RAISED)
        finally:
            resident.is_looking = False

    async def _read_answers_of_others(self, item: PollItem) -> None:
        """While an operation is denied for long, whether its account reports on others decides."""
        found = await answered_ago(self.engine.database, [item.account])
        ours = self.answered.get(item.account)
        agos = [found.get(item.account), None if ours is None else time.monotonic() - ours]
        known = [ago for ago in agos if ago is not None]
        item.answered_ago = min(known) if known else None

    def _learn(self, resident: Resident, seen: Seen) -> None:
        """Take over what a look showed; hand it to the writers if it is news."""
        resident.item.polls += 1
        now = time.monotonic()
        if seen.update is not None:
            self.answered[resident.item.account] = now
        if self.residents.get(resident.id) is not resident:
            return  # it was forgotten, or is known better by now
        seen.polls = resident.item.polls
        if seen.moves_job:
            resident.is_ending = True
            self._tell(resident, self._without_bytes(seen))
            return
        if resident.learn(seen):
            if seen.fault is None:
                self.news.mark(resident, at_once=True)
            else:
                self._tell(resident, seen)
        elif resident.has_grown:
            self.news.mark(resident)
        self.schedule(resident, now if resident.again else now + seen.wait)
        resident.again = False

    def _tell(self, resident: Resident, seen: Seen) -> None:
        resident.telling += 1
        self.writer.add(seen)

    def _without_bytes(self, seen: Seen) -> Seen:
        """Without videos that a poll may return again; the others are counted."""
        update = seen.update
        if update is None or not any(video.content for video in update.videos):
            return seen
        videos = tuple(
            video if video.only_here or video.content is None else Video(content=b"")
            for video in update.videos
        )
        held = _bytes_of(videos)
        self._held[seen.id] = self._held.get(seen.id, 0) + held
        return replace(seen, update=replace(update, videos=videos))

    def _settled(self, ids: list[str]) -> None:
        """The writer is through with these."""
        for id_ in ids:
            resident = self.residents.get(id_)
            if resident is not None:
                resident.telling = max(0, resident.telling - 1)  # it may have been taken anew
                if resident.telling:
                    continue
                if resident.is_ending:
                    del self.residents[id_]
            self._held.pop(id_, None)  # the writer holds nothing of it any more

    async def put_aside(self, id_: str, reason: Reason) -> None:
        """Postpone a row on which our own work failed: a pump works on it next."""
        self.tally.failed += 1
        await set_aside(self.engine.database, self.poll, id_, lease=self.id, reason=reason)
        self.forget([id_])

    # -- what the heartbeat says ----------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more operations it would take."""
        return max(0, self.engine.settings.watched_operations - len(self.residents))

    def said(self) -> holders.Heartbeat:
        now = time.monotonic()
        return holders.Heartbeat(
            watched=len(self.residents),
            room=0 if self.stop() else self.room,
            late=self.letting_go.late,
            answered={account: round(now - at, 1) for account, at in self.answered.items()},
        )


def _bytes_of(videos: Iterable[Video]) -> int:
    return sum(len(video.content) for video in videos if video.content is not None)
