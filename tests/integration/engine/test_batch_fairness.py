"""One tenant's many lines do not delay another's single job."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from models.database import Connection
from models.keys import create_key
from models.request import VideoRequest
from models.verbs import What
from scheduler.claim import Claimed
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import MAX_READY, Pump
from tasks.pump.running import verb_for
from tasks.pump.writer import BATCH
from tasks.verbs.verb import Hold
from tests.integration.conftest import MakeEngine

pytestmark = pytest.mark.anyio
LINES = 20_000
#: Rows that a pump may have claimed when another tenant's job arrives.
BOUND = MAX_READY + BATCH
#: Lines that are sent before it arrives.
EARLIER = 700


@dataclass(frozen=True, slots=True)
class Row:
    """A claimed row."""

    id: str
    tenant: str


@dataclass(slots=True)
class Sends:
    """Takes the place of the verb submit, sends nothing, and counts what it would have sent.

    When it has sent so many lines, the other tenant submits a job, and it goes on.
    """

    engine: Engine
    concurrency: int
    each: int
    what: What = What.SUBMIT
    abandons: bool = True
    sent: int = 0
    #: How many were sent when the other job was there, and when it was sent.
    came_at: int | None = None
    sent_at: int | None = None
    _coming: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, claimed: Sequence[Claimed]) -> list[Row]:
        return [Row(row.id, row.tenant) for row in claimed]

    async def act(self, item: Row, hold: Hold) -> None:
        del hold
        if self.sent >= EARLIER:
            async with self._coming:
                await self._let_it_come()
        self.sent += 1
        if item.tenant == "other":
            self.sent_at = self.sent
        await asyncio.sleep(0)  # as a request would, it lets others have their turn

    async def _let_it_come(self) -> None:
        if self.came_at is None:
            request = VideoRequest.from_json({"prompt": "the other one", "model": "gen4.5"})
            await accept(self.engine, request, tenant="other")
            self.came_at = self.sent

    def jobs(self, results: Sequence[Row]) -> list[str]:
        del results
        return []

    async def write(self, connection: Connection, results: Sequence[Row]) -> None:
        raise NotImplementedError

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        raise NotImplementedError


async def _many_lines_are_due(connection: Connection) -> None:
    await create_key(connection, "other")
    await connection.execute(
        """
        INSERT INTO due (what, id, lane, tenant, at)
        SELECT 'submit', 'att_' || n, 'runway', 'default',
               now() - interval '10 minutes' + n * interval '1 microsecond'
        FROM generate_series(1, %s) AS n
        """,
        (LINES,),
    )


async def test_a_single_job_waits_for_a_bounded_number_of_another_tenants_lines(
    make_engine: MakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a tenant with 20,000 lines that are due
    engine = make_engine()
    await engine.database.run(_many_lines_are_due)
    submit = verb_for(What.SUBMIT, engine, "runway")
    sends = Sends(engine, concurrency=submit.concurrency, each=submit.each)

    # When another tenant submits one job while they are being sent
    pump = Pump(
        sends,
        engine.database,
        "runway",
        seconds=120.0,
        stop=lambda: sends.sent_at is not None or sends.sent >= LINES,
    )
    await pump.run()

    # Then no more of them are sent before it than a pump claims ahead
    assert sends.came_at is not None
    assert sends.sent_at is not None
    waited = sends.sent_at - sends.came_at
    with capsys.disabled():
        sys.stdout.write(f"\n{waited} of {LINES} lines were sent before the other's job\n")
    assert waited <= BOUND
    await engine.close()
