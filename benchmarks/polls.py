"""Polls answered per second: watched operations, the pump, a task per poll, and the limit.

The contenders take turns on one PostgreSQL, one Valkey and one vendor, on this machine:

    baseline   one Celery task per poll, prefork -c 2, its messages enqueued before the clock starts
    limit      a bare loop of a client, which writes nothing but news, in batches of 500
    pump       our worker with nothing watched: claims, polls and writes back, again and again
    watcher    our worker as it runs anywhere, with its operations in memory

Limit, pump and watcher run with each of the two clients of polls: the lean one and aiohttp.

A poll counts when the vendor has answered it while the clock runs. In the main runs the vendor
tells no progress, so there is no news, and who watches writes nothing; no poll may have failed.
Beside them each poll brings news: when such a worker has stopped, the database must have all
answers, and the progress of each operation's last one. `benchmarks.lives` has an operation's whole
life.

The worker is one process, the baseline two. Not covered: a vendor's latency (loopback answers at
once, so CPU rather than concurrency is the limit) and TLS, for which see `benchmarks.clients`.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from redis import Redis

from benchmarks import lives
from benchmarks.processes import START_BOUND, Meter, NotMeasured, Process
from benchmarks.report import Contender, Reading, Report, Target
from benchmarks.rows import fresh_operations, ids_of, polls_failed, polls_misread, polls_written
from benchmarks.stand import Stand
from benchmarks.worker import (
    HAS_WATCHER,
    Vendor,
    celery_worker,
    hint,
    pause,
    pointed_at,
    polling,
    pumping,
    vendor,
    watching,
)

#: Operations in the tables: more than are polled while one waits for its next poll.
OPERATIONS = 20_000
#: Operations of a run of a pump alone.
PUMPED = 10_000
#: Seconds that are measured, and before that, in which a worker claims what there is.
SECONDS, WARMING = 6.0, 3.0
#: Seconds around which the operations' ends are expected, and so their polls densest.
_TYPICAL = 10.0
#: Messages of a baseline run, which takes about as long.
MESSAGES = 2_500
#: Timeout of a run, in seconds.
RUN_BOUND = 60.0

_BASELINE = "baseline@stand"
_PUMP_DONE = '"event":"pump.done"'

#: Settings that choose the client of polls.
_CLIENTS = {
    "aiohttp": {"LONGTAKE_LEAN_POLLS": "false"},
    "getter": {"LONGTAKE_LEAN_POLLS": "true"},
}


def measure(stand: Stand, *, rounds: int) -> Report:
    """Run every contender `rounds` times, in turn, and let some operations live once."""
    with _contenders(stand) as contenders:
        readings: dict[str, list[Reading]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                readings[name].append(run())
    found = {name: Contender(name, of_one) for name, of_one in readings.items()}
    return Report(
        name="polls: polls answered per second, and known in the end",
        unit="polls",
        contenders=[*found.values()],
        targets=[*_targets(found)],
        notes=[*lives.measure(stand)],
    )


def _targets(found: dict[str, Contender]) -> Iterator[Target]:
    baseline = found["baseline: a Celery task per poll, -c 2"]
    ours = "watcher" if HAS_WATCHER else "pump"
    for client, least in (("aiohttp", 14.0), ("getter", 20.0)):
        worker, limit = found[f"{ours}, {client}"], found[f"limit: bare loop, {client}"]
        yield Target(
            words=f"{ours} / limit, {client}",
            at_least=0.9,
            ratios=worker.against(limit),
            hint=f"{_micros(worker):.0f} µs a poll, of which the client's {_micros(limit):.0f}: "
            "for the rest, profile tasks/verbs/poll.py, providers/exchange.py and what schedules",
        )
        yield Target(
            words=f"{ours}, {client} / one task per poll",
            at_least=least,
            ratios=worker.against(baseline),
            hint="profile the worker: py-spy record --pid PID, while it runs",
        )


def _micros(contender: Contender) -> float:
    readings = contender.readings
    return 1e6 * sum(r.cpu_seconds for r in readings) / sum(r.done for r in readings)


@contextmanager
def _contenders(stand: Stand) -> Iterator[dict[str, Callable[[], Reading]]]:
    with ExitStack() as stack:
        bench = Bench(stand, stack.enter_context(vendor(stand)))
        runs: dict[str, Callable[[], Reading]] = {}
        baseline = stack.enter_context(bench.baseline_worker())
        runs["baseline: a Celery task per poll, -c 2"] = lambda: bench.baseline(baseline)
        for client, chosen in _CLIENTS.items():
            loop = stack.enter_context(bench.bare_loop(client))
            runs[f"limit: bare loop, {client}"] = lambda loop=loop: bench.loop(loop)  # type: ignore[misc]
            for name, how in _workers():
                settings = {**chosen, **how}
                runs[f"{name}, {client}"] = lambda settings=settings: bench.worker(settings)  # type: ignore[misc]
        for name, how in _workers():
            runs[f"{name}, getter, news at each poll"] = lambda how=how: bench.worker(  # type: ignore[misc]
                how, progress="percent"
            )
        yield runs


def _workers() -> Iterator[tuple[str, dict[str, str]]]:
    """Our worker's ways to poll: here the watcher plugs in."""
    yield "pump", pumping()
    if HAS_WATCHER:
        yield "watcher", watching()


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs each contender on fresh rows."""

    stand: Stand
    vendor: Vendor
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def baseline_worker(self) -> Process:
        arguments = celery_worker("benchmarks.baseline_tasks", "-c", "2", "-n", _BASELINE)
        environment = self.stand.environment(**pointed_at(self.vendor.url))
        return Process("baseline", *arguments, environment=environment, logs=self.stand.folder)

    @contextmanager
    def bare_loop(self, client: str) -> Iterator[Process]:
        environment = self.stand.environment(**pointed_at(self.vendor.url))
        arguments = ("benchmarks.bare_loop", client)
        with Process(
            f"loop-{client}", *arguments, environment=environment, logs=self.stand.folder
        ) as loop:
            loop.line(within=START_BOUND)
            yield loop

    def worker(self, settings: dict[str, str], *, progress: str = "none") -> Reading:
        """Start a worker and give it one hint; it is measured while it is busy, then stopped."""
        longest = WARMING + SECONDS + 5.0
        pointed = pointed_at(self.vendor.url, pump=longest)
        with polling(f"worker-{next(self._numbers)}", self.stand, pointed | settings) as worker:
            self._fresh(progress)
            hint(self.stand)
            worker.wait_until(
                lambda: self.vendor.looks > 0, within=START_BOUND, what="first answer"
            )
            pause(WARMING)
            before = self.vendor.looks
            with self._metered(worker) as meter:
                pause(SECONDS)
                answered = self.vendor.looks - before
        self._check(progress)
        return _reading(meter, answered)

    def pump(self, worker: Process, *, before: Callable[[], None] = lambda: None) -> Reading:
        """Give a worker one hint; ends when its pump does. `before` runs after creating rows."""
        self._fresh("percent", count=PUMPED, typical=SECONDS / 2)
        before()
        pumps = worker.count_in_log(_PUMP_DONE)
        with self._metered(worker) as meter:
            hint(self.stand)
            worker.wait_for(_PUMP_DONE, times=pumps + 1, within=RUN_BOUND)
        self._check("percent")
        return _reading(meter, polls_written(self.stand.database_url))

    def baseline(self, worker: Process) -> Reading:
        """Fill a queue, then start consuming as the measurement starts; ends when it is empty."""
        prefix = queue = self._fresh("none")
        options: dict[str, Any] = {
            "destination": [_BASELINE],
            "reply": True,
            "timeout": START_BOUND,
            "limit": 1,
        }
        with Celery(broker=self.stand.broker_url) as celery:
            for attempt, operation in itertools.islice(ids_of(prefix, OPERATIONS), MESSAGES):
                celery.send_task("baseline.poll", args=(attempt, operation), queue=queue)
            with self._metered(worker) as meter:
                celery.control.add_consumer(queue, **options)
                self._wait_for_messages(worker, queue)
            celery.control.cancel_consumer(queue, **options)
        self._check("none")
        return _reading(meter, self.vendor.looks)

    def loop(self, process: Process) -> Reading:
        """Send one line and wait for the reply."""
        prefix = self._fresh("none")
        with self._metered(process) as meter:
            told = process.ask(f"{prefix} {OPERATIONS} {SECONDS}", within=RUN_BOUND)
        if int(told) != self.vendor.looks:
            raise NotMeasured(f"the loop counted {told} polls, the vendor {self.vendor.looks}")
        return _reading(meter, self.vendor.looks)

    def _fresh(self, progress: str, *, count: int = OPERATIONS, typical: float = _TYPICAL) -> str:
        prefix = f"{next(self._numbers):03}-"
        fresh_operations(self.stand.database_url, prefix, count=count, typical=typical)
        self.vendor.behave(progress)
        return prefix

    def _metered(self, process: Process) -> Meter:
        return Meter(process.tree, self.stand.database)

    def _check(self, progress: str) -> None:
        """Whether the database knows what there was to know of what the vendor has answered."""
        url, answered = self.stand.database_url, self.vendor.looks
        if failed := polls_failed(url):
            raise NotMeasured(f"{failed} operations were not read")
        if progress == "none":
            return  # no news: who watches has nothing to write
        known = polls_written(url)
        if known != answered:
            raise NotMeasured(f"of {answered} answers the database knows {known}")
        if misread := polls_misread(url):
            raise NotMeasured(f"{misread} operations have a wrong progress")

    def _wait_for_messages(self, worker: Process, queue: str) -> None:
        with Redis.from_url(self.stand.broker_url) as broker:
            worker.wait_until(
                lambda: not broker.llen(queue), within=RUN_BOUND, what="end of its messages"
            )
        worker.wait_until(
            lambda: polls_written(self.stand.database_url) == MESSAGES,
            within=RUN_BOUND,
            what="end of its polls",
        )


def _reading(meter: Meter, done: int) -> Reading:
    return Reading(
        done=done,
        seconds=meter.seconds,
        cpu_seconds=meter.cpu_seconds,
        database_seconds=meter.database_seconds,
        peak_memory=meter.peak_memory,
    )
