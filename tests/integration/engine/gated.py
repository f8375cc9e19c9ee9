"""A gate of Runway's model and Luma's, vendors that answer as scripted, and jobs through it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from models.gate import GateRequest
from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from tasks import gates
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of, said
from transport.base import NotSent, Request, Response

#: Runway first, then Luma, at half of Runway's price.
FALLBACK = {
    "name": "shop",
    "model": "gen4.5",
    "strategy": "fallback",
    "fallback_models": ["ray-3.2"],
}
LIFE = (What.SUBMIT, What.POLL, What.STORE)
RUNWAY, LUMA = 600_000, 300_000
AWAY = NotSent("connection refused")


@dataclass(slots=True)
class Vendors:
    """Runway answers as scripted, and Luma its first submit; everything else goes well."""

    submit: Response | Exception | None = None
    luma_first: Response | Exception | None = None
    #: A failed task's code and charge.
    fails: dict[str, Any] = field(default_factory=dict)
    #: Who got paid POSTs, in order.
    posts: list[str] = field(default_factory=list)

    async def reply(self, request: Request) -> Response:
        vendor = "luma" if "/generations" in request.url else "runway"
        answer: Response | Exception = next(
            iter(answers_to(request, f"{vendor}-{len(self.posts)}").values())
        )
        if kind_of(request) == "submit":
            self.posts.append(vendor)
            if vendor == "runway" and self.submit is not None:
                answer = self.submit
            if vendor == "luma" and self.luma_first is not None:
                answer, self.luma_first = self.luma_first, None
        elif vendor == "runway" and kind_of(request) == "poll" and self.fails:
            id_ = request.url.rpartition("/")[2]
            task = {"id": id_, "status": "FAILED", "createdAt": "2026-01-01T00:00:00Z"}
            answer = said(200, task | self.fails)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def gated(make_engine: MakeEngine, vendors: Vendors) -> AsyncIterator[Engine]:
    """An engine whose tenant has the gate `shop`; every invariant holds at its end."""
    engine = facing(make_engine(), FarSide(vendors.reply))
    await gates.create(engine, GateRequest.from_json(FALLBACK), tenant="default")
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def submitted(engine: Engine, **fields: Any) -> str:
    body = {"prompt": "a quiet sea", "gate": "shop"} | fields
    return (await accept(engine, VideoRequest.from_json(body), tenant="default")).job_id


async def run(engine: Engine, *kinds: What, lane: str | None = None) -> None:
    """All that is due of each kind, on one lane or on all, as if its time had come."""
    for what in kinds:
        sql = "UPDATE due SET at = now() - interval '1 s' WHERE what = %s"
        await engine.database.fetch(sql, (what,))
        await Pump(verb_for(what, engine), engine.database, lane, seconds=0.05).run()


async def view_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.run(lambda connection: read_jobs(connection, [job]))
    return job_view(row, api_url="http://api.test", vault=engine.vault)


async def attempts(engine: Engine, job: str) -> list[tuple[str, str]]:
    sql = "SELECT provider, state FROM attempt WHERE job = %s ORDER BY id"
    return [(row["provider"], row["state"]) for row in await engine.database.fetch(sql, (job,))]


async def hops(engine: Engine, job: str) -> list[dict[str, Any]]:
    sql = "SELECT detail FROM event WHERE job = %s AND kind = 'gate.hop' ORDER BY id"
    return [row["detail"] for row in await engine.database.fetch(sql, (job,))]


REFUSALS = {
    "the request is refused": said(400, {"error": "no"}),
    "the key is refused": said(401, {"error": "no"}),
    "the account is out of credits": said(
        400, {"error": "You do not have enough credits to run this task."}
    ),
    "the limit lifts in an hour": said(429, {"error": "later"}, **{"retry-after": "3600"}),
}
