"""Renews a pump's leases, and abandons rows that another pump has claimed meanwhile."""

import asyncio
from dataclasses import dataclass

import structlog

from models.database import Connection, Database, DatabaseAway
from scheduler.claim import renew
from tasks.pump.in_flight import InFlight
from tasks.pump.writer import Tally
from tasks.verbs.verb import AnyVerb

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """Renews the leases of the rows that one pump holds."""

    verb: AnyVerb
    database: Database
    lease: str
    seconds: float
    in_flight: InFlight
    tally: Tally

    async def keep(self) -> None:
        """Renew three times per lease duration, until cancelled."""
        while True:
            await asyncio.sleep(self.seconds / 3)
            ids = list(self.in_flight.rows)
            if not ids:
                continue

            async def work(connection: Connection, ids: list[str] = ids) -> frozenset[str]:
                return await renew(
                    connection, self.verb.what, ids, lease=self.lease, seconds=self.seconds
                )

            try:
                ours = await self.database.run(work, first=True)
            except DatabaseAway as error:
                log.warning("pump.lease_not_renewed", what=self.verb.what, error=str(error))
                continue
            self._abandon([id_ for id_ in ids if id_ not in ours])

    def _abandon(self, lost: list[str]) -> None:
        """Stop work on rows whose lease is lost, except for a POST in flight."""
        for id_ in lost:
            held = self.in_flight.rows.get(id_)
            if held is None or held.answered:
                continue
            self.tally.lost += 1
            log.warning("pump.lease_lost", what=self.verb.what, id=id_)
            if held.task is None:
                self.in_flight.ready.remove(held)
                self.in_flight.remove([id_])
            elif self.verb.abandons:
                held.task.cancel()
