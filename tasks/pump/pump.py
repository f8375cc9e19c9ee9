"""The pump: claims due rows, works on many at once on one loop and writes back in rolling batches.

Claims, requests and writes overlap, so one hanging request does not delay 499 others. No
transaction is open during a request. A fencing token guards every write: a pump that was paused
past its lease writes nothing, and two pumps on one lane share its rows.

A row claimed several times without a write-back is a suspect: the pump works on it at its end,
holding no other row, so that a row that kills its worker affects no other.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import structlog

from models.database import Database, DatabaseAway
from models.verbs import What
from scheduler.claim import Claimed, Whose, release
from scheduler.pace import Pace
from tasks.crash import crash_point
from tasks.ending import end
from tasks.pump.claiming import Claims, Place
from tasks.pump.in_flight import Held, InFlight
from tasks.pump.leases import Leases
from tasks.pump.loading import load
from tasks.pump.parking import Reason, set_aside
from tasks.pump.shares import Shares
from tasks.pump.writer import BATCH, Tally, Writer
from tasks.verbs.verb import AnyVerb, Hold

log = structlog.get_logger()

#: Maximum number of claimed rows that wait to be started.
MAX_READY = 1000
#: Time that an idle pump waits for a hint before it frees its slot, in seconds.
IDLE_WAIT = 0.5
#: Claims without a write-back, most of them of the row alone, after which it is parked.
POISON_TRIES = 10
#: Time in which a pump starts suspects, one after another, at its end, in seconds.
FOR_SUSPECTS = 15.0
#: Kinds and lanes whose suspects a pump of this process is working on, so that only one does.
_with_suspects: set[tuple[What, str | None]] = set()


@dataclass(slots=True)
class Pump:
    """One run over the due rows of a kind, on one lane or on all lanes."""

    verb: AnyVerb
    database: Database
    lane: str | None = None
    #: Seconds until the pump stops claiming; work that takes longer counts as long.
    seconds: float = 15.0
    #: Seconds for which the pump keeps claiming while long work occupies it anyway.
    longest: float = 0.0
    lease_seconds: float = 30.0
    stop: Callable[[], bool] = lambda: False
    #: Seconds that repeatable work gets to finish when the process stops.
    patience: float = 10.0
    tally: Tally = field(default_factory=Tally)
    place: Place = field(default_factory=Place)
    #: The lane's pace, which outlives its pumps; by default one of this pump alone.
    pace: Pace | None = None
    #: Of a lane: which of its rows it takes.
    whose: Whose = Whose.ALL
    _lease: str = field(default_factory=lambda: str(uuid4()))
    _workers: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _woken: bool = False
    _claiming: bool = True
    #: Whether the last claim returned more than half of what it asked for.
    _many_due: bool = False
    _claims: Claims = field(init=False)
    _pace: Pace = field(init=False)
    _shares: Shares = field(init=False)
    _in_flight: InFlight = field(init=False)
    _hold: Hold = field(init=False)
    _writer: Writer = field(init=False)
    _busy: int = 0
    _stopping_since: float | None = None

    def __post_init__(self) -> None:
        self._pace = self.pace or Pace(self.verb.concurrency)
        self._shares = Shares(slots=self.verb.concurrency, each=self.verb.each)
        self._in_flight = InFlight(shares=self._shares if self.lane is None else None)
        self._claims = Claims(
            verb=self.verb,
            database=self.database,
            lane=self.lane,
            lease=self._lease,
            lease_seconds=self.lease_seconds,
            place=self.place,
            whose=self.whose,
        )
        self._hold = Hold(self._lease, self._pace)
        self._writer = Writer(
            verb=self.verb,
            database=self.database,
            lease=self._lease,
            tally=self.tally,
            outstanding=lambda: len(self._in_flight),
            settled=self._remove_written,
        )

    @property
    def is_claiming(self) -> bool:
        """Whether a hint may wake this pump instead of starting another."""
        return self._claiming

    def wake(self) -> None:
        """Make the pump claim again; call this on the pump's own loop."""
        self._woken = True
        self._changed.set()

    async def run(self) -> Tally:
        """Work until nothing is due, the time is over or the process stops."""
        started = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                renewer = group.create_task(self._leases().keep())
                writer = group.create_task(self._writer.run())
                until, is_done = started + self.seconds, False
                while not is_done:
                    self._claiming = True
                    try:
                        await self._claim_and_start(until)
                    finally:
                        self._claiming = False
                    await self._release(self._in_flight.take_unstarted())
                    is_done = await self._finish(started + self.longest)
                    until = time.monotonic() + self.seconds
                await self._take_suspects(time.monotonic() + FOR_SUSPECTS)
                await self._release_reclaimed()
                await end(renewer, writer)
        finally:
            await self._stop_workers()
            self.tally.seconds = time.monotonic() - started
        return self.tally

    async def _finish(self, longest: float) -> bool:
        """Wait for started work; False if it takes so long that this pump should claim again.

        Another pump could serve the lane meanwhile, but it would occupy a second slot.
        """
        while self._in_flight:
            now = time.monotonic()
            started = (held.started for held in self._in_flight.rows.values())
            if now - min(started) > self.seconds and now < longest and not self.stop():
                return False
            self._changed.clear()
            await self._wait_for_change()
            await self._cancel_repeatable()
        return True

    # -- claiming -------------------------------------------------------------------------------

    async def _claim_and_start(self, until: float) -> None:
        """Claim and start rows until the time is over, but at least once."""
        has_claimed = False
        while not self.stop() and (time.monotonic() < until or not has_claimed):
            has_claimed = True
            await self._release_reclaimed()
            # Cleared before the claim, so that a change during it causes another claim.
            was_woken, self._woken = self._woken, False
            self._changed.clear()
            if not self._pace.limit and self.verb.what is What.SUBMIT:
                # After the pause they are claimed again in their order, the limited one included.
                await self._release(self._in_flight.take_unstarted())
            if self._should_claim(was_woken=was_woken) and self._pace.limit:
                if await self._claim():
                    self._start()
                    await asyncio.sleep(0)  # let the tasks take their rows before we count the rest
                    continue
                idle = min(IDLE_WAIT, until - time.monotonic())
                if not (self._in_flight or self._changed.is_set() or await self._hint_within(idle)):
                    return
            self._start()
            await self._wait_for_change()

    def _should_claim(self, *, was_woken: bool) -> bool:
        """Whether to claim: early if many rows are due, so that no request waits for a claim.

        A hint may tell of a tenant that has none here, however many others have. Of all lanes only
        into free slots: a claimed row would wait behind those of other tenants.
        """
        if self.lane is None:
            return self._shares.room > 0
        return not self._has_enough or (was_woken and len(self._in_flight.ready) < MAX_READY)

    @property
    def _has_enough(self) -> bool:
        """Whether rows are ready for all requests until the next claim."""
        reserve = min(self.verb.each, BATCH) if self._many_due else 0
        return len(self._in_flight.ready) >= max(self.verb.concurrency, reserve)

    async def _claim(self) -> bool:
        """Claim as many rows as fit; False if a full round found none."""
        room = max(1, min(BATCH, MAX_READY - len(self._in_flight.ready)))
        if self.lane is None:
            room = min(room, self._shares.room)
        enough, full = self._has_enough, list[str]()
        if enough:
            full = self._in_flight.ready.those_with(self.verb.concurrency)
        for _ in range(2):  # the second claim starts the round from the beginning
            is_full_round = self._claims.is_new_round
            claimed = await self._claim_once(room, full)
            if not enough:
                self._many_due = len(claimed) > room // 2
            if claimed or is_full_round:
                return bool(claimed)
        return False

    async def _claim_suspect(self) -> bool:
        """Claim and start one suspect, while no other row is held; False if there is none."""
        row = await self._claims.take_suspect()
        if row is None:
            return False
        log.warning("pump.suspect", what=self.verb.what, id=row.id, tries=row.tries)
        self.tally.claims += 1
        await self._take([row])
        self._start()
        return True

    async def _take_suspects(self, until: float) -> None:
        """Work on suspects, at the end; meanwhile a hint starts another pump for other rows."""
        mine = (self.verb.what, self.lane)
        if mine in _with_suspects:
            return
        _with_suspects.add(mine)
        try:
            while not self.stop() and self._pace.limit and await self._claim_suspect():
                await self._drain(within=2 * self.lease_seconds)
                if self._in_flight or time.monotonic() > until:
                    break
        finally:
            _with_suspects.discard(mine)
        # A suspect that runs for two leases kills no worker: another pump may claim the next one.
        await self._drain()

    async def _drain(self, *, within: float = math.inf) -> None:
        until = time.monotonic() + within
        while self._in_flight and time.monotonic() < until:
            self._changed.clear()
            await self._wait_for_change()
            await self._cancel_repeatable()

    async def _claim_once(self, room: int, full: Sequence[str]) -> list[Claimed]:
        rows = await self._claims.take(room, self._shares, full=full)
        self.tally.claims += 1
        fresh, surplus = self._in_flight.admit(rows)
        await self._release(surplus)
        await self._take(fresh)
        return rows

    async def _take(self, taken: list[Claimed]) -> None:
        self.tally.claimed += len(taken)
        for row in taken:
            if row.tries > POISON_TRIES:
                # It is tried once more after that, and parked again at once if it fails.
                await self._set_aside(row.id, Reason.NO_ANSWER, tries=POISON_TRIES - 1)
        fresh = [row for row in taken if row.tries <= POISON_TRIES]
        if fresh:
            crash_point(f"{self.verb.what}.claimed")
        items = await load(
            self.database, self.verb, fresh, lease=self._lease, set_aside=self._set_aside
        )
        for row in fresh:  # in claim order: the loaded items have none
            if row.id in items:
                self._in_flight.add(row, items[row.id])
        self._in_flight.remove([row.id for row in taken if row.id not in items])

    # -- working --------------------------------------------------------------------------------

    def _start(self) -> None:
        for _ in range(min(self._pace.limit - self._busy, len(self._in_flight.ready))):
            self._busy += 1
            self._workers.add(worker := asyncio.create_task(self._work_on()))
            worker.add_done_callback(self._workers.discard)

    async def _work_on(self) -> None:
        """Work on row after row within the limit; a task per row would cost more CPU."""
        task = asyncio.current_task()
        try:
            while self._in_flight.ready and self._busy <= self._pace.limit:
                held = self._in_flight.ready.take()
                held.task, held.started = task, time.monotonic()
                self._changed.set()
                await self._work(held)
        finally:
            self._busy -= 1
            self._start()

    async def _work(self, held: Held) -> None:
        id_ = held.item.id
        try:
            result = await self.verb.act(held.item, self._hold)
        except asyncio.CancelledError:
            self._in_flight.remove([id_])
            raise
        except DatabaseAway as error:  # the row is claimed again once its lease expires
            log.warning("pump.database_away", what=self.verb.what, id=id_, error=str(error))
            self._in_flight.remove([id_])
        except Exception:  # our own bug: only this row is postponed
            log.exception("pump.work_failed", what=self.verb.what, id=id_)
            try:
                await self._set_aside(id_, Reason.RAISED)
            finally:
                self._in_flight.remove([id_])
        else:
            if result is None:
                self._in_flight.remove([id_])
                self.tally.written += 1
            else:
                held.answered = True
                self._writer.add(result)
        finally:
            self._changed.set()

    async def _wait_for_change(self) -> None:
        """Wait for an answer, a hint or the end of a pause, for at most a second."""
        await self._changed_within(min(1.0, self._pace.paused_for or 1.0))
        self._start()

    async def _hint_within(self, seconds: float) -> bool:
        await self._changed_within(seconds)
        return self._woken

    async def _changed_within(self, seconds: float) -> None:
        with suppress(TimeoutError):  # the caller checks again
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _cancel_repeatable(self) -> None:
        """When the process stops: cancel and release repeatable work after `patience`."""
        if not (self.verb.abandons and self.stop()):
            return
        now = time.monotonic()
        self._stopping_since = self._stopping_since or now
        if now - self._stopping_since < self.patience:
            return
        unanswered = {id_: held for id_, held in self._in_flight.rows.items() if not held.answered}
        for held in unanswered.values():
            if held.task is not None:
                held.task.cancel()
        await self._release({id_: held.since for id_, held in unanswered.items()})

    async def _stop_workers(self) -> None:
        """After an error: cancel repeatable work; a POST in flight still records its answer."""
        self._in_flight.ready.clear()
        if self.verb.abandons:
            for worker in self._workers:
                worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers, timeout=self.lease_seconds)

    # -- leases ---------------------------------------------------------------------------------

    def _leases(self) -> Leases:
        return Leases(
            verb=self.verb,
            database=self.database,
            lease=self._lease,
            seconds=self.lease_seconds,
            in_flight=self._in_flight,
            tally=self.tally,
        )

    async def _release(self, rows: Mapping[str, datetime]) -> None:
        if rows:
            self._claims.forget_floor()
            await self.database.run(
                lambda connection: release(connection, self.verb.what, rows, lease=self._lease)
            )

    def _remove_written(self, ids: list[str]) -> None:
        self._in_flight.remove(ids)
        self._changed.set()

    async def _release_reclaimed(self) -> None:
        """Release rows that were claimed after their write-back but before their removal here."""
        await self._release(self._in_flight.take_reclaimed())

    async def _set_aside(self, id_: str, reason: Reason, *, tries: int = 0) -> None:
        self.tally.failed += 1
        await set_aside(
            self.database, self.verb, id_, lease=self._lease, reason=reason, tries=tries
        )
