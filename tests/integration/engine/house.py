"""Processes on one database, whose provider answers accounts as the test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from models import accounts as rules
from models.invariants import violations
from models.request import VideoRequest
from models.rows.accounts import CapPeriod
from models.verbs import What
from models.waking import wake
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, said
from transport.base import Request, Response

#: The key of each account, which its requests carry.
TEAM = {"RUNWAYML_API_SECRET__TEAM": "key_of_the_team"}
KEYS = {"Bearer key_for_tests_of_the_engine": "runway", "Bearer key_of_the_team": "runway:team"}
#: Of one video by the default model, in millionths of a dollar.
PRICE = 600_000
LIFE = (What.SUBMIT, What.POLL, What.STORE)


@dataclass(slots=True)
class Vendor:
    """Takes everything, unless it is told otherwise; remembers which account asked for what."""

    submit: Response | Exception | None = None
    #: Accounts whose keys it refuses.
    refused: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    answered: int = 0

    async def reply(self, request: Request) -> Response:
        kind = kind_of(request)
        self.answered += 1
        if account := KEYS.get(request.headers.get("authorization", "")):
            self.asked.append((kind, account))
        answer = next(iter(answers_to(request, self.answered).values()))
        if kind == "submit" and self.submit is not None:
            answer = self.submit
        if kind == "submit" and account in self.refused:
            answer = said(401, {"error": "no such key"})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def by(self, kind: str) -> list[str]:
        """The accounts that asked for this."""
        return [account for each, account in self.asked if each == kind]


@dataclass(slots=True)
class House:
    """One database, and engines on it."""

    make: MakeEngine
    vendor: Vendor = field(default_factory=Vendor)
    engines: list[Engine] = field(default_factory=list)

    def start(self, **environment: Any) -> Engine:
        """A process, which takes the first of several accounts."""
        far_side = FarSide(self.vendor.reply)
        engine = replace(facing(self.make(**environment), far_side), dice=lambda: 0.0)
        self.engines.append(engine)
        return engine


@asynccontextmanager
async def housed(make_engine: MakeEngine) -> AsyncIterator[House]:
    """The house; in the end, every invariant holds."""
    house = House(make_engine)
    yield house
    assert await house.start().database.run(violations) == []
    for engine in house.engines:
        await engine.close()


async def ask(engine: Engine, **fields: Any) -> str:
    body = {"prompt": "a quiet sea"} | fields
    return (await accept(engine, VideoRequest.from_json(body), tenant="default")).job_id


async def run(engine: Engine, *kinds: What) -> None:
    for what in kinds:
        sql = "UPDATE due SET at = now() - interval '1 s' WHERE what = %s"
        await engine.database.fetch(sql, (what,))
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def pause(engine: Engine, name: str, *, whole: bool = False, **options: Any) -> None:
    given = {"seconds": None, "reason": None} | options
    await engine.database.run(lambda on: rules.pause(on, name, whole=whole, **given))


async def cap(engine: Engine, micros: int, name: str = "runway") -> None:
    await engine.database.run(
        lambda on: rules.set_cap(on, name, micros=micros, period=CapPeriod.DAY)
    )
    await wake(engine.database, name)


async def resume(engine: Engine, name: str, *, whole: bool) -> list[str]:
    ended = await engine.database.run(lambda on: rules.resume(on, name, whole=whole))
    await wake(engine.database, name)
    return ended


async def rows(engine: Engine) -> list[tuple[str, str]]:
    found = await engine.database.fetch("SELECT account, state FROM attempt ORDER BY id")
    return [(row["account"], row["state"]) for row in found]


async def events(engine: Engine, kind: str) -> list[dict[str, Any]]:
    sql = "SELECT detail FROM event WHERE kind = %s ORDER BY id"
    return [row["detail"] for row in await engine.database.fetch(sql, (kind,))]


async def view_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.run(lambda connection: read_jobs(connection, [job]))
    return job_view(row, api_url="http://api.test", vault=engine.vault)
