"""Waits for jobs, showing progress bars, or plain lines without a terminal."""

import time
from collections.abc import Sequence
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.api import Api, Json
from cli.errors import NotReached
from cli.show import err, say, short

#: Poll interval, in seconds.
LOOK = 0.5
#: How long the API may be unavailable while waiting, in seconds.
MAX_OUTAGE = 60.0

FINAL = frozenset({"complete", "failed", "cancelled"})


class View(Protocol):
    """Shows jobs as they change."""

    def update(self, job: Json) -> None: ...


def wait_for(api: Api, job_ids: Sequence[str]) -> list[Json]:
    """Wait until all jobs have ended; bounded by each job's own deadline.

    Raises:
        NotReached: the API was unavailable for MAX_OUTAGE seconds.
        Refused: unknown job.
    """
    if not err.is_terminal:
        return _poll_until_final(api, job_ids, _Lines())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % {task.fields[status]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as progress:
        return _poll_until_final(api, job_ids, _Bars(progress))


def _poll_until_final(api: Api, job_ids: Sequence[str], view: View) -> list[Json]:
    ended: dict[str, Json] = {}
    while True:
        for job_id in job_ids:
            if job_id not in ended:
                job = _job_with_retry(api, job_id)
                view.update(job)
                if job["status"] in FINAL:
                    ended[job_id] = job
        if len(ended) == len(set(job_ids)):
            return [ended[job_id] for job_id in job_ids]
        time.sleep(LOOK)


def _job_with_retry(api: Api, job_id: str) -> Json:
    give_up = time.monotonic() + MAX_OUTAGE
    while True:
        try:
            return api.job(job_id)
        except NotReached:
            if time.monotonic() > give_up:
                raise
            time.sleep(LOOK)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def update(self, job: Json) -> None:
        if job["id"] not in self._bars:
            self._bars[job["id"]] = self._progress.add_task(
                short(job["prompt"]).replace("[", r"\["), total=100, status=""
            )
        self._progress.update(
            self._bars[job["id"]], completed=job["progress_percent"], status=job["status"]
        )


class _Lines:
    """Prints a line when a job's status changes."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def update(self, job: Json) -> None:
        if self._shown.get(job["id"]) != job["status"]:
            self._shown[job["id"]] = job["status"]
            say(f"{job['id']} {job['status']}")
