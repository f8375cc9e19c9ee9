"""The Celery tasks: shells under stable names. Each may run twice; its docstring says why."""

import random
from functools import partial
from typing import Any

import structlog
from celery import Task

from models import holders
from models.database import Connection
from models.snapshots import old_snapshots
from models.ticks import NOTED_EVERY, note_tick
from models.verbs import DECLARED, Declaration, What
from scheduler.claim import lanes_due
from scheduler.durations import learn as learn_durations
from tasks import hints
from tasks.arguments import is_lane, is_within
from tasks.enqueue import enqueue as take_letter
from tasks.forms import ENQUEUE, ENQUEUE_BATCH, Form
from tasks.letters import Letter
from tasks.loop import runtime
from tasks.measures import TICKS, numbers
from tasks.pump.running import pump
from tasks.queue import app
from tasks.restore.clearing import MARK_BOUND, tend
from tasks.spacing import Spacing
from tasks.upkeep.retention import PRUNE_BOUND, prune_once
from tasks.watch.dead import free_orphans, free_the_dead
from tasks.watch.here import watch

log = structlog.get_logger()

#: Seconds in which a short task must have its answer from the database.
_SHORT = 30.0
#: Periodic work is done again only after a good part of its period; `within` or not are two works.
_TICKS = {True: Spacing(0.5), False: Spacing(2.5)}
_NOTES = Spacing(NOTED_EVERY)
_LEARNING, _LOOKING_AROUND, _PRUNING = Spacing(15.0), Spacing(30.0), Spacing(60.0)
_SKIPPED = "skipped: another run has just begun"


def _shell(declared: Declaration) -> "Task[[object], str]":
    """The task of a verb: it runs a pump on a lane, or on all lanes of the kind."""

    def run(lane: object = None) -> str:
        if not (lane is None or is_lane(lane)):
            return "refused: the lane of a hint is plain text"
        return watch(lane) if declared.what is What.POLL else pump(declared.what, lane)

    run.__name__ = run.__qualname__ = str(declared.what)
    run.__doc__ = declared.doc
    return app.task(name=declared.task)(run)


#: The tasks of the verbs, by kind.
SHELLS = {declared.what: _shell(declared) for declared in DECLARED}


# Periodic tasks send no events: with them Flower's list would be ticks, and no work.
@app.task(name="video.tick", send_events=False)
def tick(within: object = None) -> str:
    """Send a hint for each kind and lane with due rows; of polls, `within` so many seconds.

    Twice is harmless: so are hints.
    """
    if not (within is None or is_within(within)):
        return "refused: within is a number of seconds"

    ours = runtime()
    accounts = ours.engine.accounts

    async def work(connection: Connection) -> list[tuple[What, str | None]]:
        found = await lanes_due(connection, within=within)
        if await holders.late_ones(connection):  # a process without operations begins to watch
            found += [
                (What.POLL, lane) for lane in random.sample(sorted(accounts), min(1, len(accounts)))
            ]
        return found

    with _TICKS[within is not None].turn() as is_ours:
        if not is_ours:
            return _SKIPPED
        numbers.add(TICKS.name)
        freed = ours.start(free_the_dead(ours.engine)).result(timeout=_SHORT)
        due_lanes = ours.start(ours.engine.database.run(work, first=True)).result(timeout=_SHORT)
        random.shuffle(due_lanes)  # where slots are short, no lane is always the last
        sent = sum(hints.send(what, lane) for what, lane in due_lanes)
        with _NOTES.turn() as is_next:  # after the hints, which must not wait for it
            if is_next:
                ours.start(ours.engine.database.run_statement(note_tick)).result(timeout=_SHORT)
        return f"due={len(due_lanes)} hints={sent} freed={freed}"


@app.task(name="video.learn", send_events=False)
def learn() -> str:
    """Learn durations. Twice is harmless: the same successes give the same quantiles."""
    with _LEARNING.turn() as is_ours:
        if not is_ours:
            return _SKIPPED
        ours = runtime()
        work = partial(learn_durations, usual=ours.engine.looks.usual)
        routes = ours.start(ours.engine.database.run(work)).result(timeout=_SHORT)
        return f"routes={routes}"


@app.task(name="video.look_around", send_events=False)
def look_around() -> str:
    """Warn of what slows the database down, and free polls that no known process watches.

    Twice is harmless: what is free stays free.
    """
    with _LOOKING_AROUND.turn() as is_ours:
        if not is_ours:
            return _SKIPPED
        ours = runtime()
        old = ours.start(ours.engine.database.run(old_snapshots)).result(timeout=_SHORT)
        for each in old:
            log.warning("database.old_snapshot", holder=each.holder, seconds=each.seconds)
        orphans = ours.start(free_orphans(ours.engine)).result(timeout=_SHORT)
        return f"old_snapshots={len(old)} orphans={orphans}"


@app.task(name="video.mark", send_events=False)
def mark() -> str:
    """Keep the high-water mark. Twice is harmless: the higher generation counts."""
    ours = runtime()
    return ours.start(tend(ours.engine)).result(timeout=MARK_BOUND)


@app.task(name="video.prune", send_events=False)
def prune() -> str:
    """Delete what is too old, and charge what older workers left. Twice is harmless."""
    with _PRUNING.turn() as is_ours:
        if not is_ours:
            return _SKIPPED
        ours = runtime()
        pruned = ours.start(prune_once(ours.engine)).result(timeout=PRUNE_BOUND)
        if pruned.charged:
            log.warning("jobs.charged_late", jobs=pruned.charged)
        return str(pruned)


def _intake(form: Form, doc: str) -> "Task[..., str]":
    """The task of a form's letters.

    Any arguments are taken, since Celery would tell wrong ones in a traceback.
    """

    def take(self: Any, *args: Any, **kwargs: Any) -> str:
        deaths = int(self.request.get("x-delivery-count") or 0)
        letter = Letter(form=form, task_id=self.request.id, args=args, kwargs=kwargs, deaths=deaths)
        return take_letter(letter)

    take.__name__ = take.__qualname__ = form.task.rpartition(".")[2]
    take.__doc__ = doc
    return app.task(
        name=form.task,
        bind=True,
        acks_late=True,
        acks_on_failure=False,
        acks_on_timeout=False,
        reject_on_worker_lost=True,
        Request="tasks.discreet:DiscreetRequest",
        Strategy="tasks.discreet:readable",
    )(take)


enqueue = _intake(
    ENQUEUE,
    """Accept a request sent over the broker: `request`, and if wanted `job_id` and `tenant`.

    Twice is harmless: without a `job_id` the job's id comes from the task's. Acknowledged after the
    commit; while PostgreSQL is away the message goes back, and what is wrong with it becomes a row.
    """,
)
enqueue_batch = _intake(
    ENQUEUE_BATCH,
    """Accept up to 1,000 requests as a batch: `requests`, `batch_id`; `options` and `tenant`.

    Twice is harmless: a batch is known by its `batch_id`. Otherwise as `video.enqueue`.
    """,
)
