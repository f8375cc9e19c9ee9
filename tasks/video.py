"""The Celery tasks: shells under stable names. Each may run twice; its docstring says why."""

from typing import Any

import structlog

from models.database import Connection
from models.request import VideoRequest
from models.snapshots import old_snapshots
from models.state import What
from scheduler.claim import lanes_due
from scheduler.durations import learn as learn_durations
from tasks import hints
from tasks.intake import accept
from tasks.lifecycle import pump
from tasks.loop import runtime
from tasks.queue import app
from tasks.retention import PRUNE_BOUND, prune_once

log = structlog.get_logger()

#: Seconds in which a short task must have its answer from the database.
_SHORT = 30.0


@app.task(name="video.submit")
def submit(lane: str) -> str:
    """Send planned attempts. Twice is harmless: `sent` is committed before the POST."""
    return pump(What.SUBMIT, lane)


@app.task(name="video.poll")
def poll(lane: str) -> str:
    """Look at running operations. Twice is harmless: rows are leased, and a poll costs nothing."""
    return pump(What.POLL, lane)


@app.task(name="video.look_up")
def look_up(lane: str) -> str:
    """Find operations whose POST had no answer. Twice is harmless: it only reads."""
    return pump(What.LOOK_UP, lane)


@app.task(name="video.store")
def store(lane: str) -> str:
    """Bring finished videos home. Twice is harmless: the object's key is the output's id."""
    return pump(What.STORE, lane)


@app.task(name="video.deliver")
def deliver(lane: str | None = None) -> str:
    """Deliver webhooks. Twice is harmless: receivers tell repeats by the event's id."""
    return pump(What.DELIVER, lane)


@app.task(name="video.cancel")
def cancel(lane: str) -> str:
    """Stop operations nobody wants. Twice is harmless: a stopped one is gone."""
    return pump(What.CANCEL, lane)


@app.task(name="video.expire")
def expire(lane: str) -> str:
    """End jobs past their deadline. Twice is harmless: a final job does not move."""
    return pump(What.EXPIRE, lane)


@app.task(name="video.tick")
def tick(within: float | None = None) -> str:
    """Send a hint for each kind and lane with due rows; of polls, `within` so many seconds.

    Twice is harmless: so are hints.
    """
    ours = runtime()

    async def work(connection: Connection) -> list[tuple[What, str | None]]:
        return await lanes_due(connection, within=within)

    due_lanes = ours.start(ours.engine.database.run(work)).result(timeout=_SHORT)
    sent = sum(hints.send(what, lane) for what, lane in due_lanes)
    return f"due={len(due_lanes)} hints={sent}"


@app.task(name="video.learn")
def learn() -> str:
    """Learn durations. Twice is harmless: the same successes give the same quantiles."""
    ours = runtime()
    routes = ours.start(ours.engine.database.run(learn_durations)).result(timeout=_SHORT)
    return f"routes={routes}"


@app.task(name="video.look_around")
def look_around() -> str:
    """Warn of what slows the database down. Twice is harmless: it only looks."""
    ours = runtime()
    old = ours.start(ours.engine.database.run(old_snapshots)).result(timeout=_SHORT)
    for each in old:
        log.warning("database.old_snapshot", holder=each.holder, seconds=each.seconds)
    return f"old_snapshots={len(old)}"


@app.task(name="video.prune")
def prune() -> str:
    """Delete what is too old. Twice is harmless: what is gone is gone."""
    ours = runtime()
    return str(ours.start(prune_once(ours.engine)).result(timeout=PRUNE_BOUND))


@app.task(name="video.enqueue", acks_late=True, Request="tasks.discreet:DiscreetRequest")
def enqueue(request: dict[str, Any], job_id: str | None = None, tenant: str = "default") -> str:
    """Accept a request sent over the broker. Twice is harmless when the sender gives a `job_id`.

    Acknowledged after the commit, so a worker that dies in between loses nothing.
    """
    ours = runtime()
    checked = VideoRequest.from_json(request)
    accepted = ours.start(accept(ours.engine, checked, tenant=tenant, job_id=job_id)).result(
        timeout=_SHORT
    )
    hints.send(What.SUBMIT, accepted.lane)
    return accepted.job_id
