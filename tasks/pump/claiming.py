"""A pump's claims: of one lane, or of all lanes of a kind, from where the last claim stopped."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from models.database import Connection, Database
from models.verbs import What
from scheduler.claim import Claimed, Found, Turn, Whose, claim, claim_suspect
from scheduler.turns import Claim, claim_in_turns
from tasks.pump.shares import Shares
from tasks.verbs.verb import AnyVerb

#: How long a lane's floor is valid before a claim searches the whole lane again, in seconds.
FLOOR_TTL = 10.0


@dataclass(slots=True)
class Place:
    """Whose turn it is among the claims of a kind and lane in this process; outlives its pumps."""

    turn: Turn = field(default_factory=Turn)


@dataclass(slots=True, kw_only=True)
class Claims:
    """Claims the rows of one pump under its lease."""

    verb: AnyVerb
    database: Database
    #: None: all lanes.
    lane: str | None
    lease: str
    lease_seconds: float
    place: Place
    whose: Whose = Whose.ALL
    #: No row of our lane was due before this time; see `claim`.
    _floor: datetime | None = None
    _floor_until: float = 0.0

    @property
    def is_new_round(self) -> bool:
        return self.place.turn == Turn()

    async def take(self, most: int, shares: Shares, *, full: Sequence[str] = ()) -> list[Claimed]:
        """Claim up to `most` due rows, of our lane but not of `full` tenants, or of all lanes."""
        if time.monotonic() > self._floor_until:
            self._floor = None

        async def work(connection: Connection) -> Found:
            if self.lane is None:
                return await claim_in_turns(connection, self.verb.what, self._asked(most, shares))
            return await claim(
                connection,
                self.verb.what,
                lane=self.lane,
                turn=self.place.turn,
                floor=self._floor,
                most=most,
                each=self.verb.each,
                full=full,
                lease=self.lease,
                seconds=self.lease_seconds,
                whose=self.whose,
            )

        found = await self.database.run_statement(work, first=True)
        self._remember(found)
        return found.rows

    async def take_suspect(self) -> Claimed | None:
        """Claim one suspect, for a pump that holds no other row."""

        async def work(connection: Connection) -> Claimed | None:
            return await claim_suspect(
                connection,
                self.verb.what,
                lane=self.lane,
                lease=self.lease,
                seconds=self.lease_seconds,
            )

        return await self.database.run_statement(work, first=True)

    def forget_floor(self) -> None:
        """Search the whole lane again: rows were released that were due before its floor."""
        self._floor = None

    def _asked(self, most: int, shares: Shares) -> Claim:
        return Claim(
            turn=self.place.turn,
            most=most,
            each=self.verb.each,
            full=shares.full(),
            lease=self.lease,
            seconds=self.lease_seconds,
        )

    def _remember(self, found: Found) -> None:
        # A floor pays off only for polls, whose frequent updates leave many dead index entries, and
        # is safe only for them: a submit's priority moves it back in time, below any floor.
        self.place.turn = found.turn
        if self.verb.what is not What.POLL or self.whose is not Whose.ALL:
            return
        if self._floor is None and found.floor is not None:
            self._floor_until = time.monotonic() + FLOOR_TTL
        self._floor = found.floor
