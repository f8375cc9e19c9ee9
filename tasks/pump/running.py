"""The pumps of this process: one for each kind and lane that is claiming, on the process's loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as StillRunning
from contextlib import nullcontext
from pkgutil import resolve_name

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from models.verbs import DECLARED, What
from scheduler.claim import Whose
from scheduler.pace import Pace
from scheduler.paces import LaneNotes
from tasks import hints
from tasks.download import DOWNLOAD_TIMEOUT
from tasks.engine import Engine
from tasks.loop import Runtime, runtime
from tasks.measures import note_round
from tasks.outcomes.sent import ANSWER_MARGIN
from tasks.pump.claiming import Place
from tasks.pump.flag import Flag
from tasks.pump.pump import FOR_SUSPECTS, Pump
from tasks.pump.slots import slots
from tasks.pump.writer import Tally
from tasks.restore.clearing import tending
from tasks.verbs.store import WORK_TIMEOUT
from tasks.verbs.verb import AnyVerb

log = structlog.get_logger()

#: Set when the process is asked to stop: made at import, so that prefork children share it.
stopping = Flag()

#: The pumps of this process's loop; used on that loop only.
_running: dict[tuple[What, str | None], list[Pump]] = {}
#: Whose turn it is, from pump to pump.
_places: dict[tuple[What, str | None], Place] = {}
#: How far a lane is slowed down, from pump to pump.
_paces: dict[tuple[What, str], LaneNotes] = {}

#: Seconds in which a pump must finish its work after it stopped claiming; where one request may
#: take longer, the timeout of that request.
GRACE = 120.0
#: Seconds for which a pump claims videos to store, or pictures to fetch, at most.
STORE_CLAIMS, PREPARE_CLAIMS = DOWNLOAD_TIMEOUT, 600.0
_LONGEST = {What.STORE: STORE_CLAIMS, What.PREPARE: PREPARE_CLAIMS}
#: Concurrent POSTs that stay open until the video is made: waiting costs a pump next to nothing.
LONG_SUBMITS = 64


#: Each verb's class; a worker that can't import one of them does not start.
VERBS: dict[What, Callable[..., AnyVerb]] = {
    declared.what: resolve_name(f"{declared.module}:{declared.verb}") for declared in DECLARED
}


def verb_for(what: What, engine: Engine, lane: str | None = None) -> AnyVerb:
    """The verb of a kind of due rows, as it is for a lane."""
    if what is What.SUBMIT and _is_synchronous(engine, lane):
        return VERBS[what](engine=engine, concurrency=LONG_SUBMITS)
    return VERBS[what](engine=engine)


def times_of(what: What, engine: Engine, lane: str | None) -> tuple[float, float]:
    """Seconds for which a pump claims, and in which it must then finish its work.

    Where requests take minutes it claims for as long as one of them: when it has stopped and is
    finishing, one other takes over, so a lane never holds more than two slots of a process.
    Downloads are short, or long: while a long one keeps a pump, it claims on, for `STORE_CLAIMS` or
    `PREPARE_CLAIMS` at most.
    """
    claims = engine.settings.pump_seconds
    if what is What.STORE:
        return claims, STORE_CLAIMS + WORK_TIMEOUT + GRACE
    if what is What.PREPARE:
        return claims, PREPARE_CLAIMS + GRACE
    if what is not What.SUBMIT or lane is None or lane not in engine.accounts:
        return claims, GRACE
    longest = engine.submit_timeout(lane) + ANSWER_MARGIN
    return max(claims, longest if _is_synchronous(engine, lane) else 0.0), max(GRACE, longest)


def pace_of(what: What, engine: Engine, lane: str | None) -> LaneNotes | None:
    """The pace of a provider's lane, as processes share it; None for a pump of all lanes."""
    if lane is None or lane not in engine.accounts:
        return None
    known = _paces.get((what, lane))
    if known is None or known.database is not engine.database:
        together = engine.capabilities(lane).poll_many if what is What.POLL else 1
        pace = Pace(verb_for(what, engine, lane).concurrency, together=together)
        known = LaneNotes(database=engine.database, what=what, lane=lane, pace=pace)
        _paces[what, lane] = known
    return known


def _is_synchronous(engine: Engine, lane: str | None) -> bool:
    return (
        lane is not None
        and lane in engine.accounts
        and engine.provider(lane).capabilities.synchronous
    )


def pump(what: What, lane: str | None, *, whose: Whose = Whose.ALL) -> str:
    """Run a pump on this process's loop and wait for it; harmless to run twice, or not at all.

    A pump of the same kind and lane that is claiming already is woken instead. If the process has
    no slot left for such pumps, the next tick asks again.
    """
    hints.arrived(what, lane)
    ours = runtime()
    with slots.taken(what) as is_taken:
        if is_taken:
            return _run(ours, what, lane, whose)
    ours.start(_wake(what, lane)).result(timeout=GRACE)
    return "no slot is free"


def _run(ours: Runtime, what: What, lane: str | None, whose: Whose) -> str:
    future = ours.start(_pump(ours, what, lane, whose))
    try:
        return future.result(timeout=sum(times_of(what, ours.engine, lane)) + FOR_SUSPECTS)
    except SoftTimeLimitExceeded:
        future.cancel()
        raise
    except (StillRunning, CancelledError):
        future.cancel()
        log.error("pump.overran", what=what, lane=lane)  # noqa: TRY400 - nothing was raised to show
        return "overran"


async def _wake(what: What, lane: str | None) -> bool:
    """Wake the pump of a lane that is claiming; whether there is one."""
    for each in _running.get((what, lane), ()):
        if each.is_claiming:
            each.wake()
            return True
    return False


async def _pump(ours: Runtime, what: What, lane: str | None, whose: Whose = Whose.ALL) -> str:
    if await _wake(what, lane):
        return "woke the pump that runs"
    others = _running.setdefault((what, lane), [])
    claims, _ = times_of(what, ours.engine, lane)
    notes = pace_of(what, ours.engine, lane)
    mine = Pump(
        verb_for(what, ours.engine, lane),
        ours.engine.database,
        lane,
        seconds=claims,
        longest=_LONGEST.get(what, 0.0),
        lease_seconds=ours.engine.settings.lease_seconds,
        stop=stopping.is_set,
        place=_places.setdefault((what, lane), Place()),
        pace=notes.pace if notes else None,
        whose=whose,
    )
    others.append(mine)
    try:
        async with (
            tending(ours.engine) if what is What.SUBMIT else nullcontext(),
            notes.kept() if notes else nullcontext(),
        ):
            tally: Tally = await asyncio.create_task(mine.run())
    finally:
        others.remove(mine)
    if tally.claimed:
        note_round(what, rows=tally.claimed, seconds=tally.seconds)
        log.info(
            "pump.done", what=what, lane=lane, tally=str(tally), seconds=round(tally.seconds, 2)
        )
    return str(tally)
