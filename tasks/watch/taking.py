"""How operations come to be watched: claims, and what is read again when something happened."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import structlog

from models import holders
from models.database import Connection, DatabaseAway
from models.verbs import What
from scheduler.claim import Claimed, Found, Turn, Whose, claim, lanes_due
from tasks.crash import crash_point
from tasks.pump.loading import load
from tasks.pump.parking import Reason
from tasks.pump.writer import BATCH

if TYPE_CHECKING:
    from tasks.outcomes.polled import PollItem
    from tasks.watch.watcher import Watcher

log = structlog.get_logger()

#: A watcher whose looks run late leaves rows to others for so many seconds first.
OVERDUE: Final = 2.0
#: Claims of one call, at most: the next hint goes on.
_CLAIMS: Final = 200
#: Claims at one heartbeat on behalf of late holders: the next heartbeat must not wait.
_HELPS: Final = 2


class Taking:
    """Claims rows for one watcher, and reads them again."""

    def __init__(self, watcher: "Watcher") -> None:
        self._watcher = watcher
        self._turns: dict[str, Turn] = {}
        self._claiming: set[str] = set()

    @property
    def is_busy(self) -> bool:
        return bool(self._claiming)

    async def help(self) -> None:
        """Claim some of the rows that late holders have let go. Raises DatabaseAway.

        This needs no hint: in a pool, the same few processes get all hints.
        """
        database = self._watcher.engine.database
        for what, lane in await database.run(lanes_due, first=True):
            if what is What.POLL and lane is not None and lane in self._watcher.engine.accounts:
                await self.take(lane, claims=_HELPS)

    async def take(self, lane: str, *, claims: int = _CLAIMS) -> int:
        """Claim what is due on a lane and clean, while there is room; returns how many.

        Raises:
            DatabaseAway: what was claimed by then is watched, or read again with a heartbeat.
        """
        if lane in self._claiming:
            return 0  # whoever claims now finds it, or the next tick's hint does
        self._claiming.add(lane)
        taken = 0
        try:
            for _ in range(claims):
                room = min(self._watcher.room, BATCH)
                if not room or self._watcher.is_over or self._watcher.stop():
                    break
                turn = self._turns.get(lane, Turn())
                found = await self._claim(lane, turn, room)
                self._turns[lane] = found.turn
                taken += len(found.rows)
                if found.turn == Turn() and len(found.rows) < room:
                    break
        finally:
            self._claiming.discard(lane)
        return taken

    async def _claim(self, lane: str, turn: Turn, most: int) -> Found:
        watcher = self._watcher
        tries = 0

        async def work(connection: Connection) -> Found | None:
            nonlocal tries
            if tries:  # the previous one may be committed without confirmation
                watcher.heart.doubt()
            tries += 1
            if not await holders.lives(connection, watcher.id):
                return None
            return await claim(
                connection,
                What.POLL,
                lane=lane,
                turn=turn,
                most=most,
                each=watcher.poll.each,
                lease=watcher.id,
                seconds=holders.FAR,
                whose=Whose.CLEAN,
                overdue=OVERDUE if watcher.letting_go.late > holders.LATE else 0.0,
            )

        try:
            found = await watcher.engine.database.run(work, first=True)
        except DatabaseAway:
            watcher.heart.doubt()
            raise
        if found is None:
            await watcher.abandon()
            return Found([], Turn())
        watcher.tally.claims += 1
        watcher.tally.claimed += len(found.rows)
        if found.rows:
            crash_point(f"{watcher.poll.what}.claimed")
            watcher.heart.tell({row.id for row in found.rows})  # unless we get to know them now
            await self._admit(found.rows)
            watcher.heart.know({row.id for row in found.rows})
            if watcher.is_over:  # it left while we claimed, and let go of what it knew
                await self._return(found.rows)
        return found

    async def _return(self, rows: Sequence[Claimed]) -> None:
        watcher = self._watcher

        async def work(connection: Connection) -> None:
            free = [holders.Free(row.id, 0.0) for row in rows]
            await holders.let_go(connection, free, holder=watcher.id)
            await holders.leave(connection, watcher.id)

        await watcher.engine.database.run(work)

    async def _admit(self, rows: Sequence[Claimed]) -> frozenset[str]:
        """Load rows that are ours, and look at them now; returns their ids.

        Those of finished work are dropped.
        """
        watcher = self._watcher

        async def put_aside(id_: str, reason: Reason) -> None:
            await watcher.put_aside(id_, reason)

        found = await load(
            watcher.engine.database, watcher.poll, rows, lease=watcher.id, set_aside=put_aside
        )
        items = cast("dict[str, PollItem]", found)  # what our verb loads
        now = time.monotonic()
        for row in rows:
            if row.id in items and not watcher.is_over:
                watcher.admit(items[row.id], now)
        watcher.freeze()
        return frozenset(items)

    async def read_again(self, ids: Sequence[str]) -> None:
        """Read operations that something happened to, and look at them; others' are forgotten.

        Raises DatabaseAway.
        """
        watcher = self._watcher
        for start in range(0, len(ids), BATCH):
            some = list(ids[start : start + BATCH])

            async def work(connection: Connection, some: list[str] = some) -> list[holders.Row]:
                return await holders.rows_of(connection, watcher.id, some)

            ours = {row.id: row for row in await watcher.engine.database.run_statement(work)}
            watcher.forget([id_ for id_ in some if id_ not in ours])
            # What is about to be written ends it; if it does not, its row tells.
            rows = [row for row in ours.values() if not self._is_ending(row.id)]
            known = await self._admit([_claimed(row) for row in rows])
            watcher.forget([row.id for row in rows if row.id not in known])

    def _is_ending(self, id_: str) -> bool:
        resident = self._watcher.residents.get(id_)
        return resident is not None and resident.is_ending

    async def compare(self) -> bool:
        """Compare our rows in the database with those in memory, and mend what differs.

        Usually nothing does, but a restored database has rows of ours that we forgot when they
        ended, and a claim may be committed without confirmation. Returns False, and does nothing,
        during a claim.
        """
        watcher = self._watcher
        if self.is_busy:
            return False
        before = set(watcher.residents)

        async def work(connection: Connection) -> list[holders.Row]:
            return await holders.rows_of(connection, watcher.id)

        rows = {row.id for row in await watcher.engine.database.run_statement(work)}
        differ = sorted((rows - before) - set(watcher.residents)) + sorted(
            (before - rows) & set(watcher.residents)
        )
        if differ:
            log.warning("watch.differs", rows=len(rows), watched=len(before), differ=len(differ))
            await self.read_again(differ)
        return True


def _claimed(row: holders.Row) -> Claimed:
    return Claimed(id=row.id, lane=row.lane, tenant=row.tenant, tries=1, since=row.since)
