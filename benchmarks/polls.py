"""Polls written back per second: the pump in a Celery task, a task per poll, and the limit.

Four contenders take turns on one PostgreSQL, one Valkey and one vendor, all on this machine:

    pump       `celery -A worker worker`, one `video.poll` message: our verb, as it runs anywhere
    baseline   one Celery task per poll, prefork -c 2, its messages enqueued before the clock starts
    limit      a bare loop of the pump's client, with one batched UPDATE for 500 polls
    aiohttp    the same loop on the library below that client: what the client itself costs

A run begins with fresh rows, ends when the last poll is committed, and is timed from outside. What
counts is what the database has, the sum of `attempt.polls`, and only if every progress that the
vendor told is there. The first round warms up and is dropped.

The pump also claims, leases, moves jobs' percentages and makes each row due again; the others do
not, and that is the point of the second ratio. It uses one worker process where the baseline uses
two. Left out: a vendor's latency (loopback answers at once, so a CPU is the limit and not the
concurrency), TLS, and the tick that sends the hint.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from redis import Redis

from benchmarks.processes import START_BOUND, Meter, NotMeasured, Process
from benchmarks.report import Contender, Reading, Report, Target
from benchmarks.rows import LANE, fresh_operations, ids_of, polls_misread, polls_written
from benchmarks.stand import Stand

#: Operations in the tables: more than are polled while one of them waits for its next look.
OPERATIONS = 10_000
#: Seconds of a run, and messages of a baseline's run, which take about as long.
SECONDS, MESSAGES = 6.0, 2_500
#: How long a run may take.
RUN_BOUND = 60.0

_PUMP_DONE = '"event": "pump.done"'
READY = "worker.ready"
#: The baseline worker's name: it alone is told of the baseline's queue.
_BASELINE = "baseline@stand"


def measure(stand: Stand, *, rounds: int) -> Report:
    """Run every contender `rounds` times, in turns, after one round that does not count."""
    with _contenders(stand) as contenders:
        readings: dict[str, list[Reading]] = {name: [] for name in contenders}
        for number in range(rounds + 1):
            for name, run in contenders.items():
                reading = run()
                if number:
                    readings[name].append(reading)
    return _report([Contender(name, found) for name, found in readings.items()])


def _report(contenders: list[Contender]) -> Report:
    pump, baseline, limit, aiohttp = contenders
    return Report(
        name="polls: polls written back per second",
        unit="polls",
        contenders=contenders,
        targets=[
            Target(words="pump / one task per poll", at_least=12.0, ratios=pump.against(baseline)),
            Target(words="pump / limit", at_least=0.85, ratios=pump.against(limit)),
            Target(words="limit / aiohttp alone", at_least=0.0, ratios=limit.against(aiohttp)),
        ],
    )


@contextmanager
def _contenders(stand: Stand) -> Iterator[dict[str, Callable[[], Reading]]]:
    with ExitStack() as stack:

        def start(name: str, *arguments: str, **more: str) -> Process:
            environment = stand.environment(**more)
            process = Process(name, *arguments, environment=environment, logs=stand.folder)
            return stack.enter_context(process)

        vendor = start("vendor", "benchmarks.upstream").line(within=START_BOUND)
        pointed = pointed_at(vendor)
        bench = Bench(stand)
        pump = start("pump", *POLL_WORKER, **pointed)
        baseline = start(
            "baseline", *_worker("benchmarks.baseline_tasks", "-n", _BASELINE), **pointed
        )
        seam = start("seam", "benchmarks.bare_loop", "seam", **pointed)
        aiohttp = start("aiohttp", "benchmarks.bare_loop", "aiohttp", **pointed)
        pump.wait_for(READY, times=1, within=START_BOUND)
        for loop in (seam, aiohttp):
            loop.line(within=START_BOUND)
        yield {
            "pump, inside a Celery task": lambda: bench.pump(pump),
            "baseline: a Celery task per poll, -c 2": lambda: bench.baseline(baseline),
            "limit: bare loop, the same client": lambda: bench.loop(seam),
            "limit: bare loop, aiohttp alone": lambda: bench.loop(aiohttp),
        }


def pointed_at(vendor: str) -> dict[str, str]:
    """What a worker is told so that it polls the vendor as fast as it can."""
    return {
        "RUNWAYML_BASE_URL": vendor,
        "RUNWAYML_API_SECRET": "key_benchmark",
        "LONGTAKE_PUMP_SECONDS": str(SECONDS),
        "LONGTAKE_POLL_FLOOR_SECONDS": "0.05",
    }


def _worker(app: str, *more: str) -> list[str]:
    return ["celery", "-A", app, "worker", "-c", "2", "--without-gossip", "--without-mingle", *more]


#: Celery's arguments for a worker that polls.
POLL_WORKER = _worker("worker", "-Q", "poll")


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of each contender, on fresh rows."""

    stand: Stand
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def pump(self, worker: Process, *, before: Callable[[], None] = lambda: None) -> Reading:
        """One hint; over when the pump gives its slot back. `before` comes after the fresh rows."""
        self._fresh()
        before()
        pumps = worker.told(_PUMP_DONE)
        with Celery(broker=self.stand.broker_url) as celery, self._metered(worker) as meter:
            celery.send_task("video.poll", kwargs={"lane": LANE}, queue="poll")
            worker.wait_for(_PUMP_DONE, times=pumps + 1, within=RUN_BOUND)
        return self._reading(meter)

    def baseline(self, worker: Process) -> Reading:
        """A full queue, of which the worker is told as the clock starts; over when it is done."""
        prefix = queue = self._fresh()
        told: dict[str, Any] = {
            "destination": [_BASELINE],
            "reply": True,
            "timeout": START_BOUND,
            "limit": 1,
        }
        with Celery(broker=self.stand.broker_url) as celery:
            for attempt, operation in itertools.islice(ids_of(prefix, OPERATIONS), MESSAGES):
                celery.send_task("baseline.poll", args=(attempt, operation), queue=queue)
            with self._metered(worker) as meter:
                celery.control.add_consumer(queue, **told)
                self._wait_for_messages(worker, queue)
            celery.control.cancel_consumer(queue, **told)
        return self._reading(meter)

    def loop(self, process: Process) -> Reading:
        """A line in, a line out."""
        prefix = self._fresh()
        with self._metered(process) as meter:
            process.ask(f"{prefix} {OPERATIONS} {SECONDS}", within=RUN_BOUND)
        return self._reading(meter)

    def _fresh(self) -> str:
        prefix = f"{next(self._numbers):03}-"
        fresh_operations(self.stand.database_url, prefix, count=OPERATIONS, typical=SECONDS / 2)
        return prefix

    def _metered(self, process: Process) -> Meter:
        return Meter(process.tree, self.stand.database)

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

    def _reading(self, meter: Meter) -> Reading:
        if misread := polls_misread(self.stand.database_url):
            raise NotMeasured(f"{misread} operations were polled in vain")
        return Reading(
            done=polls_written(self.stand.database_url),
            seconds=meter.seconds,
            cpu_seconds=meter.cpu_seconds,
            database_seconds=meter.database_seconds,
            peak_memory=meter.peak_memory,
        )
