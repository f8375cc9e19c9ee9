"""Waiting for jobs at a terminal: a bar for each that moves, a line for each where nothing can."""

import time
from collections.abc import Sequence
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.api import Api, Json
from cli.errors import NotReached
from cli.show import err, say, short

#: Between two looks at a job, in seconds.
LOOK = 0.5
#: For how long the API may be away, restarting, while we wait, in seconds.
ABSENCE = 60.0

FINAL = frozenset({"complete", "failed", "cancelled"})


class View(Protocol):
    """Shows jobs as they change."""

    def update(self, job: Json) -> None: ...


def wait_for(api: Api, job_ids: Sequence[str]) -> list[Json]:
    """The jobs, all ended, in the order asked; bounded by each job's own deadline.

    Raises:
        NotReached: the API has been away for ABSENCE seconds.
        Refused: there is no such job.
    """
    if not err.is_terminal:
        return _watched(api, job_ids, _Lines())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % {task.fields[status]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as progress:
        return _watched(api, job_ids, _Bars(progress))


def _watched(api: Api, job_ids: Sequence[str], view: View) -> list[Json]:
    ended: dict[str, Json] = {}
    while True:
        for job_id in job_ids:
            if job_id not in ended:
                job = _patiently(api, job_id)
                view.update(job)
                if job["status"] in FINAL:
                    ended[job_id] = job
        if len(ended) == len(set(job_ids)):
            return [ended[job_id] for job_id in job_ids]
        time.sleep(LOOK)


def _patiently(api: Api, job_id: str) -> Json:
    give_up = time.monotonic() + ABSENCE
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
    """One line whenever a job's status changes."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def update(self, job: Json) -> None:
        if self._said.get(job["id"]) != job["status"]:
            self._said[job["id"]] = job["status"]
            say(f"{job['id']} {job['status']}")
