"""What processes count of their work; `metrics.numbers` holds it, and each is one call here.

Outcomes are few words, and providers those of the registry: no label names an account, a job, a
tenant, a worker or an address.
"""

import time
from collections.abc import Sequence
from typing import Final

import structlog

from metrics.numbers import Family, Numbers, crossed
from models import moves
from models.moves import Move
from models.state import FINAL_JOB_STATES, JobState
from models.verbs import What
from providers.registry import PROVIDERS, provider_of

log = structlog.get_logger()

#: Of a provider that only another version of ours knows, and of work that has none.
OTHER, NONE = "other", ""
_PROVIDERS: Final = (*sorted(PROVIDERS), OTHER)

#: What one piece of work may come to, by its kind. A submit's are its outcomes' names.
OUTCOMES: Final[dict[What, tuple[str, ...]]] = {
    What.SUBMIT: (
        *("accepted", "refused", "unsendable", "unknown", "put_off", "limited", "blocked"),
        *("held_up", "postponed", "unprepared", "waits", "uncleared", "not_ours"),
    ),
    What.POLL: (
        *("running", "succeeded", "failed", "cancelled"),
        # No such operation; a 429; a status that no document has; no readable answer.
        *("denied", "limited", "strange", "faulty"),
    ),
    What.STORE: ("stored", "again", "lost", "swept", "unwanted"),
    What.DELIVER: ("delivered", "retry", "gone", "put_off"),
}
_CALLED = tuple(what for what in OUTCOMES if what is not What.DELIVER)

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_OF_JOBS = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 14400.0, 86400.0)
_ROWS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)

WORK: Final = Family(
    name="longtake_work",
    help="Rows that were worked on, by kind of work, provider and outcome.",
    labels=("what", "provider", "outcome"),
    series=[
        series
        for what, outcomes in OUTCOMES.items()
        for series in crossed([what], _PROVIDERS if what in _CALLED else [NONE], outcomes)
    ],
)
WORK_DURATION: Final = Family(
    name="longtake_work_duration_seconds",
    help="How long the work on one row took, by kind of work and provider.",
    labels=("what", "provider"),
    series=[*crossed(_CALLED, _PROVIDERS), (What.DELIVER, NONE)],
    buckets=_SECONDS,
)
FIRST_POST: Final = Family(
    name="longtake_first_post_seconds",
    help="From a job's acceptance, or its scheduled start, to its first POST; not of batches.",
    labels=("provider",),
    series=crossed(_PROVIDERS),
    buckets=_SECONDS,
)
JOB_DURATION: Final = Family(
    name="longtake_job_duration_seconds",
    help="From a job's acceptance, or its scheduled start, to its end, by final state.",
    labels=("state",),
    series=crossed(sorted(FINAL_JOB_STATES)),
    buckets=_OF_JOBS,
)
MOVES: Final = Family(
    name="longtake_job_moves",
    help="Moves of jobs, by the state that they moved to; to pending, by single submissions.",
    labels=("state",),
    series=crossed(list(JobState)),
)
ROUND_ROWS: Final = Family(
    name="longtake_round_rows",
    help="Rows that one run of a pump claimed, of runs that claimed any, by kind of work.",
    labels=("what",),
    series=crossed(list(What)),
    buckets=_ROWS,
)
ROUND_DURATION: Final = Family(
    name="longtake_round_duration_seconds",
    help="How long one run of a pump took, of runs that claimed any rows, by kind of work.",
    labels=("what",),
    series=crossed(list(What)),
    buckets=_SECONDS,
)
TICKS: Final = Family(name="longtake_ticks", help="Looks for lanes with due rows.")
EVENTS_DROPPED: Final = Family(
    name="longtake_job_events_dropped",
    help="Events of jobs for Flower that did not fit the queue or that the broker did not take.",
)
FAMILIES: Final = (
    *(WORK, WORK_DURATION, FIRST_POST, JOB_DURATION, MOVES),
    *(ROUND_ROWS, ROUND_DURATION, TICKS, EVENTS_DROPPED),
)

#: Of this process, and in a worker of all processes of its pool.
numbers = Numbers(FAMILIES)


class Work:
    """Counts one kind of work, looking up each of its series once."""

    def __init__(self, what: What) -> None:
        self._what = what
        self._places: dict[tuple[str, str | None], tuple[int | None, int | None]] = {}

    def note(self, outcome: str, *, account: str | None = None, began: float) -> None:
        """Count one piece of work that began at `began` on the monotonic clock."""
        places = self._places.get((outcome, account))
        if places is None:
            provider = NONE if account is None else _provider(account)
            places = self._places[outcome, account] = (
                numbers.place(WORK, self._what, provider, outcome),
                numbers.place(WORK_DURATION, self._what, provider),
            )
        numbers.count(*places, buckets=WORK_DURATION.buckets, value=time.monotonic() - began)


#: Polls are counted up to ten thousand times a second.
POLLS: Final = Work(What.POLL)
_WORKS: Final = {what: POLLS if what is What.POLL else Work(what) for what in OUTCOMES}


def note_work(what: What, outcome: str, *, account: str | None = None, began: float) -> None:
    """Count one piece of work that began at `began` on the monotonic clock."""
    _WORKS[what].note(outcome, account=account, began=began)


def note_first_post(account: str, *, waited: float) -> None:
    """Count the wait of a job that has just been sent for the first time, in seconds."""
    numbers.observe(FIRST_POST, _provider(account), value=waited)


def note_round(what: What, *, rows: int, seconds: float) -> None:
    """Count one run of a pump."""
    numbers.observe(ROUND_ROWS, what, value=rows)
    numbers.observe(ROUND_DURATION, what, value=seconds)


def note_moves(made: Sequence[Move]) -> None:
    """Count and log committed moves of jobs, and the durations of those that ended."""
    for move in made:
        log.info("job.moved", job=move.job, state=move.state, age=round(move.age, 3))
        numbers.add(MOVES.name, move.state)
        if move.state in FINAL_JOB_STATES:
            numbers.observe(JOB_DURATION, move.state, value=move.age)


def _provider(account: str) -> str:
    provider = provider_of(account)
    return provider if provider in PROVIDERS else OTHER


moves.listen(note_moves)
