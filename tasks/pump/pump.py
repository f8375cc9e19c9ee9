"""The pump: claims due rows, works on many at once on one loop, writes back in rolling batches.

Claimer, requests and writer overlap and never wait for each other in step: one request that hangs
must not hold 499 others. No transaction is open while a request is. What a pump may write is
guarded by its fencing token, so a pump that was paused past its lease does nothing, and two pumps
on one lane share its rows.

A row whose workers left no answer several times is a suspect: it is worked on at the pump's end,
when nothing else is held, so that whatever it does to its worker it does alone.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import structlog

from models.database import Connection, Database, DatabaseAway
from models.state import What
from scheduler.claim import Claimed, Found, Turn, claim, claim_suspect, release, renew
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.pump.loading import load
from tasks.pump.parking import Reason, set_aside
from tasks.pump.writer import BATCH, Tally, Writer
from tasks.verbs.verb import AnyVerb, Hold, Item

log = structlog.get_logger()

#: Claimed rows that may wait for a free request.
AHEAD = 1000
#: A pump with nothing to do waits this long for a hint before it gives its slot back, in seconds.
LINGER = 0.5
#: Where users choose the lanes, one that has not answered promptly holds so many rows at most.
PROBES = 4
#: An answer within this time is prompt, in seconds.
PROMPT = 5.0
#: Claims without a write-back, all but the first few of the row alone, after which it is poison.
POISON_TRIES = 10
#: At its end a pump begins with one suspect after another for so long, in seconds.
FOR_SUSPECTS = 15.0
#: Kinds and lanes whose suspects a pump of this process works on: no other does meanwhile.
_with_suspects: set[tuple[What, str | None]] = set()
#: For so long a lane's floor is believed before all of it is looked at again, in seconds.
FLOOR_HOLDS = 10.0


@dataclass(slots=True)
class _Held:
    """A claimed row and the task that works on it (and then on others), once it was started."""

    item: Item
    lane: str
    #: When it came up: its place in the line, should it be handed back.
    since: datetime
    task: asyncio.Task[None] | None = None
    #: When work on it began, by the monotonic clock.
    started: float = math.inf
    #: Its result is in the writer's hands.
    answered: bool = False


@dataclass(slots=True)
class Pump:
    """One run over the due rows of a kind, on one lane or on all of them."""

    verb: AnyVerb
    database: Database
    lane: str | None = None
    #: Seconds after which it stops claiming, and after which work takes long.
    seconds: float = 15.0
    #: Seconds up to which it goes on claiming while work that takes long keeps it anyway.
    longest: float = 0.0
    lease_seconds: float = 30.0
    stop: Callable[[], bool] = lambda: False
    #: Seconds in which work that may be done again may end by itself when the process is to stop.
    patience: float = 10.0
    tally: Tally = field(default_factory=Tally)
    _lease: str = field(default_factory=lambda: str(uuid4()))
    _workers: set[asyncio.Task[None]] = field(default_factory=set)
    _ready: deque[_Held] = field(default_factory=deque)
    _held: dict[str, _Held] = field(default_factory=dict)
    #: Claimed again while they were held, and when they came up: due anew, before their write-back
    #: was noticed here.
    _reclaimed: dict[str, datetime] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _woken: bool = False
    _claiming: bool = True
    #: The last claim brought about as much as it asked for.
    _plenty: bool = False
    _turn: Turn = field(default_factory=Turn)
    #: No row of our lane came up before; see `claim`.
    _floor: datetime | None = None
    _floor_until: float = 0.0
    _pace: Pace = field(init=False)
    _hold: Hold = field(init=False)
    _writer: Writer = field(init=False)
    #: Shared lanes whose latest answer was prompt.
    _prompt: set[str] = field(default_factory=set)
    _busy: int = 0
    _stopping_since: float | None = None

    def __post_init__(self) -> None:
        self._pace = Pace(self.verb.concurrency)
        self._hold = Hold(self._lease, self._pace)
        self._writer = Writer(
            verb=self.verb,
            database=self.database,
            lease=self._lease,
            tally=self.tally,
            outstanding=lambda: len(self._held),
            settled=self._settle,
        )

    @property
    def is_claiming(self) -> bool:
        """Whether a hint may wake this pump instead of starting another."""
        return self._claiming

    def wake(self) -> None:
        """There is something new to claim; call it on the pump's own loop."""
        self._woken = True
        self._changed.set()

    async def run(self) -> Tally:
        """Pump until nothing is due, the time is over, or the process stops."""
        started = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                renewer = group.create_task(self._keep_leases())
                writer = group.create_task(self._writer.run())
                until, is_done = started + self.seconds, False
                while not is_done:
                    self._claiming = True
                    try:
                        await self._claim_and_start(until)
                    finally:
                        self._claiming = False
                    await self._hand_back()
                    is_done = await self._finish(started + self.longest)
                    until = time.monotonic() + self.seconds
                await self._take_suspects(time.monotonic() + FOR_SUSPECTS)
                await self._release_reclaimed()
                renewer.cancel()
                writer.cancel()
        finally:
            await self._leave_nothing_running()
            self.tally.seconds = time.monotonic() - started
        return self.tally

    async def _finish(self, longest: float) -> bool:
        """Wait for what was begun; False when it takes so long that the lane should go on.

        Another pump would take over as well, but it would hold a slot of the process for as long.
        """
        while self._held:
            now = time.monotonic()
            is_kept = any(now - held.started > self.seconds for held in self._held.values())
            if is_kept and now < longest and not self.stop():
                return False
            self._changed.clear()
            await self._settled()
            await self._leave_off()
        return True

    # -- claiming -------------------------------------------------------------------------------

    async def _claim_and_start(self, until: float) -> None:
        """Claim and begin until the time is over; once even if it already is."""
        has_looked = False
        while not self.stop() and (time.monotonic() < until or not has_looked):
            has_looked = True
            await self._release_reclaimed()
            # Before the look, so that what changes while it is under way makes us look again.
            self._woken = False
            self._changed.clear()
            if self._runs_low() and self._pace.limit:
                if await self._claim():
                    self._start()
                    await asyncio.sleep(0)  # they take their rows before we look what is left
                    continue
                linger = min(LINGER, until - time.monotonic())
                if not (self._held or self._changed.is_set() or await self._hint_within(linger)):
                    return
            self._start()
            await self._settled()

    def _runs_low(self) -> bool:
        """Whether to claim; where there is plenty, early, so that no request waits for a claim."""
        reserve = min(self.verb.each, BATCH) if self._plenty else 0
        return len(self._ready) < max(self.verb.concurrency, reserve)

    async def _claim(self) -> bool:
        """Claim what there is room for; False when nothing was due on a whole round."""
        room = max(1, min(BATCH, AHEAD - len(self._ready)))
        for _ in range(2):  # the second look begins the round anew
            started_at_the_beginning = self._turn == Turn()
            claimed = await self._claim_once(room)
            self._plenty = len(claimed) > room // 2
            if claimed or started_at_the_beginning:
                return bool(claimed)
        return False

    async def _claim_suspect(self) -> bool:
        """Claim one suspect and begin with it; nothing else is held. False when there is none."""

        async def work(connection: Connection) -> Claimed | None:
            return await claim_suspect(
                connection,
                self.verb.what,
                lane=self.lane,
                lease=self._lease,
                seconds=self.lease_seconds,
            )

        row = await self.database.run_statement(work)
        if row is None:
            return False
        log.warning("pump.suspect", what=self.verb.what, id=row.id, tries=row.tries)
        self.tally.claims += 1
        await self._take([row])
        self._start()
        return True

    async def _take_suspects(self, until: float) -> None:
        """The suspects' turn, at the end: a hint starts another pump for healthy rows meanwhile."""
        mine = (self.verb.what, self.lane)
        if mine in _with_suspects:
            return
        _with_suspects.add(mine)
        try:
            while not self.stop() and self._pace.limit and await self._claim_suspect():
                await self._until_all_are_settled(within=2 * self.lease_seconds)
                if self._held or time.monotonic() > until:
                    break
        finally:
            _with_suspects.discard(mine)
        # What outlives two leases kills no worker: others may take the next suspect meanwhile.
        await self._until_all_are_settled()

    async def _until_all_are_settled(self, *, within: float = math.inf) -> None:
        until = time.monotonic() + within
        while self._held and time.monotonic() < until:
            self._changed.clear()
            await self._settled()
            await self._leave_off()

    async def _claim_once(self, room: int) -> list[Claimed]:
        if time.monotonic() > self._floor_until:
            self._floor = None

        async def work(connection: Connection) -> Found:
            return await claim(
                connection,
                self.verb.what,
                lane=self.lane,
                closed=self._full_lanes(),
                turn=self._turn,
                floor=self._floor,
                most=room,
                each=self.verb.each,
                lease=self._lease,
                seconds=self.lease_seconds,
            )

        found = await self.database.run_statement(work)
        self._go_on_from(found)
        claimed = found.rows
        self.tally.claims += 1
        fresh = await self._hand_back_surplus([row for row in claimed if row.id not in self._held])
        self._reclaimed.update((row.id, row.since) for row in claimed if row.id in self._held)
        await self._take(fresh)
        return claimed

    async def _take(self, fresh: list[Claimed]) -> None:
        self.tally.claimed += len(fresh)
        for row in fresh:
            if row.tries > POISON_TRIES:
                # Once more when it comes back; then again it is poison at once.
                await self._set_aside(row.id, Reason.NO_ANSWER, tries=POISON_TRIES - 1)
        fresh = [row for row in fresh if row.tries <= POISON_TRIES]
        if fresh:
            crash_point(f"{self.verb.what}.claimed")
        items = await load(
            self.database, self.verb, fresh, lease=self._lease, set_aside=self._set_aside
        )
        for row in fresh:  # in their order: the database loads in none
            if row.id in items:
                held = _Held(item=items[row.id], lane=row.lane, since=row.since)
                self._held[row.id] = held
                self._ready.append(held)

    def _go_on_from(self, found: Found) -> None:
        # Only polls come back so often that dead entries matter, and their rows come up in order:
        # a submit's priority moves it back in time, below any floor.
        self._turn = found.turn
        if self.verb.what is not What.POLL:
            return
        if self._floor is None and found.floor is not None:
            self._floor_until = time.monotonic() + FLOOR_HOLDS
        self._floor = found.floor

    def _full_lanes(self) -> list[str]:
        """Lanes that hold as many rows as each of them may."""
        if self.lane is not None:
            return []
        counts = Counter(held.lane for held in self._held.values())
        return [lane for lane, count in counts.items() if count >= self._most_of(lane)]

    def _most_of(self, lane: str) -> int:
        """Any number of hosts may hang: each is given little until it has answered promptly."""
        return self.verb.each if lane in self._prompt else PROBES

    async def _hand_back_surplus(self, claimed: list[Claimed]) -> list[Claimed]:
        """Of what was claimed of shared lanes, keep what each of them may hold."""
        if self.lane is not None:
            return claimed
        counts = Counter(held.lane for held in self._held.values())
        kept, surplus = list[Claimed](), dict[str, datetime]()
        for row in claimed:
            counts[row.lane] += 1
            if counts[row.lane] <= self._most_of(row.lane):
                kept.append(row)
            else:
                surplus[row.id] = row.since
        await self._release(surplus)
        return kept

    # -- working --------------------------------------------------------------------------------

    def _start(self) -> None:
        for _ in range(min(self._pace.limit - self._busy, len(self._ready))):
            self._busy += 1
            self._workers.add(worker := asyncio.create_task(self._work_on()))
            worker.add_done_callback(self._workers.discard)

    async def _work_on(self) -> None:
        """One row after the other while there is room: a task for each would cost more CPU."""
        task = asyncio.current_task()
        try:
            while self._ready and self._busy <= self._pace.limit:
                held = self._ready.popleft()
                held.task, held.started = task, time.monotonic()
                self._changed.set()
                await self._work(held)
        finally:
            self._busy -= 1
            self._start()

    async def _work(self, held: _Held) -> None:
        id_, started = held.item.id, time.monotonic()
        try:
            result = await self.verb.act(held.item, self._hold)
        except asyncio.CancelledError:
            self._held.pop(id_, None)
            raise
        except DatabaseAway as error:  # the row stays leased and is found when its lease ends
            log.warning("pump.database_away", what=self.verb.what, id=id_, error=str(error))
            self._held.pop(id_, None)
        except Exception:  # our own mistake: told here, and the row alone comes back later
            log.exception("pump.work_failed", what=self.verb.what, id=id_)
            try:
                await self._set_aside(id_, Reason.RAISED)
            finally:
                self._held.pop(id_, None)
        else:
            if result is None:
                self._held.pop(id_, None)
                self.tally.written += 1
            else:
                held.answered = True
                self._writer.add(result)
        finally:
            is_prompt = time.monotonic() - started < PROMPT
            (self._prompt.add if is_prompt else self._prompt.discard)(held.lane)
            self._changed.set()

    async def _settled(self) -> None:
        """Wait until something changed: an answer, a hint, a pause that ends; a second at most."""
        await self._changed_within(min(1.0, self._pace.paused_for or 1.0))
        self._start()

    async def _hint_within(self, seconds: float) -> bool:
        await self._changed_within(seconds)
        return self._woken

    async def _changed_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass  # the caller looks again by itself

    async def _leave_off(self) -> None:
        """When the process is to stop: what others may do again keeps us for a while only."""
        if not (self.verb.abandons and self.stop()):
            return
        now = time.monotonic()
        self._stopping_since = self._stopping_since or now
        if now - self._stopping_since < self.patience:
            return
        unanswered = {id_: held for id_, held in self._held.items() if not held.answered}
        for held in unanswered.values():
            if held.task is not None:
                held.task.cancel()
        await self._release({id_: held.since for id_, held in unanswered.items()})

    async def _leave_nothing_running(self) -> None:
        """After an error: stop what may be stopped; a POST on its way records its own answer."""
        self._ready.clear()
        if self.verb.abandons:
            for worker in self._workers:
                worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers, timeout=self.lease_seconds)

    # -- leases ---------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            ids = list(self._held)
            if not ids:
                continue
            try:
                ours = await self.database.run(
                    lambda connection, ids=ids: renew(  # type: ignore[misc]
                        connection,
                        self.verb.what,
                        ids,
                        lease=self._lease,
                        seconds=self.lease_seconds,
                    )
                )
            except DatabaseAway as error:
                log.warning("pump.lease_not_renewed", what=self.verb.what, error=str(error))
                continue
            self._abandon([id_ for id_ in ids if id_ not in ours])

    def _abandon(self, lost: list[str]) -> None:
        """Others have these rows now: stop working on them, save for a POST that is on its way."""
        for id_ in lost:
            held = self._held.get(id_)
            if held is None or held.answered:
                continue
            self.tally.lost += 1
            log.warning("pump.lease_lost", what=self.verb.what, id=id_)
            if held.task is None:
                self._ready.remove(held)
                del self._held[id_]
            elif self.verb.abandons:
                held.task.cancel()

    async def _hand_back(self) -> None:
        """Unstarted rows are due again at once; nobody waits for our lease to end."""
        rows = {held.item.id: held.since for held in self._ready}
        self._ready.clear()
        for id_ in rows:
            del self._held[id_]
        await self._release(rows)

    async def _release(self, rows: Mapping[str, datetime]) -> None:
        if rows:
            self._floor = None  # they came up before it
            await self.database.run(
                lambda connection: release(connection, self.verb.what, rows, lease=self._lease)
            )

    def _settle(self, ids: list[str]) -> None:
        for id_ in ids:
            self._held.pop(id_, None)
        self._changed.set()

    async def _release_reclaimed(self) -> None:
        """Nobody works on a row that was claimed between its commit and its leaving `_held`."""
        ids = sorted(self._reclaimed.keys() - self._held.keys())
        if ids:
            await self._release({id_: self._reclaimed.pop(id_) for id_ in ids})

    async def _set_aside(self, id_: str, reason: Reason, *, tries: int = 0) -> None:
        self.tally.failed += 1
        await set_aside(
            self.database, self.verb, id_, lease=self._lease, reason=reason, tries=tries
        )
