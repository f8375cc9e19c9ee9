"""A polling worker of ours, the vendor that it polls, and how they are set up."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from celery import Celery

from benchmarks.processes import START_BOUND, Process
from benchmarks.rows import LANE
from benchmarks.stand import Stand
from settings import Settings

READY = "worker.ready"
#: The setting by which a worker keeps operations in memory; a tree without it has pumps alone.
_WATCHES = "resident_polls"
HAS_WATCHER = _WATCHES in Settings.model_fields


@dataclass(frozen=True, slots=True)
class Vendor:
    """The vendor's process, at `url`."""

    url: str

    def behave(self, progress: str, *, lives: float = 0.0) -> None:
        """Forget all tasks; the next ones tell progress by `percent`, by `time` or not (`none`)."""
        self._get(f"/_mode/{progress}/{lives}")

    @property
    def looks(self) -> int:
        """How many it has answered."""
        return int(self._get("/_looks"))

    def _get(self, path: str) -> str:
        return httpx.get(self.url + path, trust_env=False, timeout=10).raise_for_status().text


@contextmanager
def vendor(stand: Stand) -> Iterator[Vendor]:
    with Process(
        "vendor",
        "benchmarks.upstream",
        "percent",
        environment=stand.environment(),
        logs=stand.folder,
    ) as process:
        yield Vendor(process.line(within=START_BOUND))


def pointed_at(vendor: str, *, floor: float = 0.05, pump: float = 6.0) -> dict[str, str]:
    """Environment for a worker that polls the vendor as fast as it can.

    `floor` is the shortest wait between two polls, and `pump` a pump's time, in seconds.
    """
    return {
        "RUNWAYML_BASE_URL": vendor,
        "RUNWAYML_API_SECRET": "key_benchmark",
        "LONGTAKE_PUMP_SECONDS": str(pump),
        "LONGTAKE_POLL_FLOOR_SECONDS": str(floor),
    }


def pumping() -> dict[str, str]:
    """Settings of a worker that watches nothing: its pumps poll."""
    return {f"LONGTAKE_{_WATCHES.upper()}": "false"}


def watching() -> dict[str, str]:
    """Settings of a worker that watches what it polls."""
    return {f"LONGTAKE_{_WATCHES.upper()}": "true"}


def celery_worker(app: str, *more: str) -> list[str]:
    """Celery's arguments of a worker."""
    return ["celery", "-A", app, "worker", "--without-gossip", "--without-mingle", *more]


#: Those of a polling worker: of threads and so one process, as in the local stack.
POLL_WORKER = celery_worker("worker", "-Q", "poll", "--pool", "threads", "-c", "4")


@contextmanager
def polling(name: str, stand: Stand, settings: Mapping[str, str]) -> Iterator[Process]:
    """A worker that has started and waits for hints; no other process may have its `name`."""
    environment = stand.environment(**settings)
    with Process(name, *POLL_WORKER, environment=environment, logs=stand.folder) as worker:
        worker.wait_for(READY, times=1, within=START_BOUND)
        yield worker


def hint(stand: Stand) -> None:
    """Have the lane's operations polled, as the tick would."""
    with Celery(broker=stand.broker_url) as celery:
        celery.send_task("video.poll", kwargs={"lane": LANE}, queue="poll")


def pause(seconds: float) -> None:
    """Let processes work for so long."""
    time.sleep(seconds)
