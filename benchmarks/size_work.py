"""Process under measurement: does the named piece of work once, and prints its peak memory."""

import asyncio
import json
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final
from uuid import uuid4

import structlog

from benchmarks.batch_intake import write
from benchmarks.rows import LANE
from benchmarks.size_rows import BATCH, LINES, MOST
from models import due
from models.database import Connection
from models.invariants import violations
from models.verbs import What
from scheduler.claim import Turn, claim, lanes_due
from scheduler.durations import learn
from settings import load
from tasks import deliveries
from tasks.batches import control
from tasks.batches.intake import accept_batch
from tasks.batches.lines import FileSource
from tasks.batches.results import results
from tasks.engine import Engine
from tasks.listing import Filter, list_own
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.retention import prune_once

#: Pages of a list that are read, jobs of a page, and repetitions of short work.
_PAGES, _PAGE, _TIMES = 5, 21, 20
#: Seconds of a pruning that finds a lot to delete, and the most turns of a cancel.
_PRUNING, _TURNS = 60.0, 2000

Work = Callable[[Engine], Awaitable[str]]


async def _list(engine: Engine, wanted: Filter) -> str:
    """The first pages of the list; says how many jobs they show."""
    shown = 0
    after: str | None = None
    for _ in range(_PAGES):
        page = await list_own(engine, wanted, limit=_PAGE, after=after)
        shown += len(page.jobs)
        after = page.jobs[-1].id if len(page.jobs) == _PAGE else page.walked_to
        if after is None:
            break
    return f"{shown} shown"


async def _deliveries(engine: Engine, **filters: str) -> str:
    found = await deliveries.list_newest(engine, tenant=MOST, limit=_PAGE, **filters)
    return f"{len(found)} shown"


async def _learn(engine: Engine) -> str:
    routes = [await engine.database.run(learn) for _ in range(_TIMES)]
    return f"{routes[-1]} routes, {_TIMES} times"


async def _tick(engine: Engine) -> str:
    lanes = [await engine.database.run(lanes_due) for _ in range(_TIMES)]
    return f"{len(lanes[-1])} lanes, {_TIMES} times"


async def _claim(engine: Engine) -> str:
    async def work(connection: Connection) -> int:
        found = await claim(
            connection,
            What.POLL,
            lane=LANE,
            turn=Turn(),
            most=500,
            each=500,
            lease=str(uuid4()),
            seconds=30.0,
        )
        ids = [row.id for row in found.rows]
        await due.put_back(connection, What.POLL, ids, after=[-1.0] * len(ids))
        return len(ids)

    claimed = [await engine.database.run(work) for _ in range(_TIMES)]
    return f"{claimed[-1]} rows, {_TIMES} times"


async def _prune(engine: Engine) -> str:
    return str(await prune_once(engine, seconds=_PRUNING))


async def _doctor(engine: Engine) -> str:
    found = await engine.database.run(violations)
    return f"{len(found)} violations {sorted({each.kind for each in found})}"


async def _results(engine: Engine) -> str:
    batch = await control.read(engine, BATCH, tenant=MOST)
    lines = [1 async for _ in results(engine, batch)]
    return f"{len(lines)} lines"


async def _cancel(engine: Engine) -> str:
    """Accept a batch of as many lines as a batch may have, cancel it, and end it."""
    with tempfile.TemporaryFile() as file:
        write(file, lines=LINES)
        accepted = await accept_batch(engine, await FileSource.open(file), tenant=MOST)
    await control.cancel(engine, accepted.view["id"], tenant=MOST)
    for turn in range(_TURNS):
        await Pump(verb_for(What.TALLY, engine), engine.database, None, seconds=5.0).run()
        batch = await control.read(engine, accepted.view["id"], tenant=MOST)
        if batch.finished_at is not None:
            return f"{batch.cancelled} lines, {turn + 1} turns"
    return "not ended"


WORKS: Final[Mapping[str, Work]] = {
    "list": partial(_list, wanted=Filter(tenant=MOST)),
    "list, status complete": partial(_list, wanted=Filter(tenant=MOST, status="complete")),
    "list, status failed": partial(_list, wanted=Filter(tenant=MOST, status="failed")),
    "list, status pending (none)": partial(_list, wanted=Filter(tenant=MOST, status="pending")),
    "list, a rare app_id": partial(_list, wanted=Filter(tenant=MOST, app_id="rare-app")),
    "list, an app_id of none": partial(_list, wanted=Filter(tenant=MOST, app_id="nobody")),
    "list, a model of none": partial(_list, wanted=Filter(tenant=MOST, model="nothing")),
    "list, failed and of a model of none": partial(
        _list, wanted=Filter(tenant=MOST, status="failed", model="nothing")
    ),
    "list, a batch": partial(_list, wanted=Filter(tenant=MOST, batch_id=BATCH)),
    "list, a batch, status pending (none)": partial(
        _list, wanted=Filter(tenant=MOST, batch_id=BATCH, status="pending")
    ),
    "list of deliveries": _deliveries,
    "list of deliveries of a job of none": partial(_deliveries, job_id="job_vid_none"),
    "list of deliveries of a batch of none": partial(_deliveries, batch_id="batch_none"),
    "learn": _learn,
    "tick": _tick,
    "claim": _claim,
    "prune, nothing old": _prune,
    "doctor": _doctor,
    "results of a batch": _results,
    "cancel of a batch": _cancel,
    "prune": _prune,
    "doctor, pruned": _doctor,
}


async def main(name: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    engine = Engine.build(load())
    done = await WORKS[name](engine)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"done": done, "peak_memory": peak}), flush=True)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
