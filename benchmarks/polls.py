"""Polls written per second: the pump in a Celery task, a task per poll, and the limit.

Four contenders take turns on one PostgreSQL, one Valkey and one vendor, on this machine:

    pump       `celery -A worker worker`, one `video.poll` message: our verb, as it runs anywhere
    baseline   one Celery task per poll, prefork -c 2, its messages enqueued before the clock starts
    limit      a bare loop of the pump's client, with one batched UPDATE for 500 polls
    aiohttp    the same loop on the library below that client: what the client itself costs

A run starts with fresh rows, ends when the last poll is committed, and is timed from outside. The
result is the sum of `attempt.polls` in the database, valid only if every progress value sent by the
vendor is stored. The first round is a warm-up and is dropped.

The pump also claims, leases, updates job progress and reschedules each row; the others do not,
which is what the second ratio measures. It uses one worker process, the baseline two. Not covered:
vendor latency (loopback responds at once, so CPU rather than concurrency is the limit), TLS, and
the tick that sends hints.
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

#: Operations in the tables: more than are polled while one waits for its next poll.
OPERATIONS = 10_000
#: Seconds per run, and messages per baseline run, which take about as long.
SECONDS, MESSAGES = 6.0, 2_500
#: Timeout of a run, in seconds.
RUN_BOUND = 60.0

_PUMP_DONE = '"event":"pump.done"'
READY = "worker.ready"
#: The baseline worker's name: only this worker consumes the baseline's queue.
_BASELINE = "baseline@stand"


def measure(stand: Stand, *, rounds: int) -> Report:
    """Run every contender `rounds` times, in turn, after one uncounted round."""
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
    """Environment for a worker that polls the vendor as fast as it can."""
    return {
        "RUNWAYML_BASE_URL": vendor,
        "RUNWAYML_API_SECRET": "key_benchmark",
        "LONGTAKE_PUMP_SECONDS": str(SECONDS),
        "LONGTAKE_POLL_FLOOR_SECONDS": "0.05",
        "LONGTAKE_RESIDENT_POLLS": "false",  # what is counted are the pump's rows
    }


def _worker(app: str, *more: str) -> list[str]:
    return ["celery", "-A", app, "worker", "-c", "2", "--without-gossip", "--without-mingle", *more]


#: Celery arguments of a polling worker.
POLL_WORKER = _worker("worker", "-Q", "poll")


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs each contender on fresh rows."""

    stand: Stand
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def pump(self, worker: Process, *, before: Callable[[], None] = lambda: None) -> Reading:
        """Send one hint; ends when the pump frees its slot. `before` runs after creating rows."""
        self._fresh()
        before()
        pumps = worker.count_in_log(_PUMP_DONE)
        with Celery(broker=self.stand.broker_url) as celery, self._metered(worker) as meter:
            celery.send_task("video.poll", kwargs={"lane": LANE}, queue="poll")
            worker.wait_for(_PUMP_DONE, times=pumps + 1, within=RUN_BOUND)
        return self._reading(meter)

    def baseline(self, worker: Process) -> Reading:
        """Fill a queue, then start consuming as the measurement starts; ends when it is empty."""
        prefix = queue = self._fresh()
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
        return self._reading(meter)

    def loop(self, process: Process) -> Reading:
        """Send one line and wait for the reply."""
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
            raise NotMeasured(f"{misread} operations have a wrong progress")
        return Reading(
            done=polls_written(self.stand.database_url),
            seconds=meter.seconds,
            cpu_seconds=meter.cpu_seconds,
            database_seconds=meter.database_seconds,
            peak_memory=meter.peak_memory,
        )
