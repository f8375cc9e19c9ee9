"""The demo's live display: a total, the programs of other systems, and one line per model.

Plain lines without a terminal.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.api import Json
from cli.demo.shots import Shot
from cli.show import err, say
from cli.waiting import FINAL


class Board(Protocol):
    def show(self, jobs: Sequence[Json], programs: str) -> None:
        """Show how far our own jobs are; `programs` says it of other systems' programs."""


@contextmanager
def board(shots: Sequence[Shot]) -> Iterator[Board]:
    if not err.is_terminal:
        yield _Lines()
        return
    with Live(console=err, refresh_per_second=4) as live:
        yield _LiveTable(live, [shot.model for shot in shots])


class _LiveTable:
    def __init__(self, live: Live, models: Sequence[str]) -> None:
        self._live = live
        self._submitted = {model: models.count(model) for model in dict.fromkeys(models)}

    def show(self, jobs: Sequence[Json], programs: str) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("model", "submitted", "pending", "processing", "done", "failed", ""):
            table.add_column(name, justify="left" if name in {"model", ""} else "right")
        for model, submitted in self._submitted.items():
            ours = [job for job in jobs if job["model"] == model]
            table.add_row(model, str(submitted), *_counts(ours), _bar(ours, submitted, width=20))
        total = sum(self._submitted.values())
        done = Text(
            f"{sum(job['status'] in FINAL for job in jobs)} of {total} jobs finished, {programs}"
        )
        # A terminal that is too low for every model cuts off the end.
        self._live.update(Group(done, _bar(jobs, total, width=60), Text(), table))


class _Lines:
    """Prints a line when the counts change."""

    def __init__(self) -> None:
        self._last_line = ""

    def show(self, jobs: Sequence[Json], programs: str) -> None:
        pending, processing, done, failed = _counts(jobs)
        line = (
            f"{pending} pending, {processing} processing, {done} done, {failed} failed; {programs}"
        )
        if line != self._last_line:
            self._last_line = line
            say(line)


def _counts(jobs: Sequence[Json]) -> tuple[str, str, str, str]:
    statuses = [job["status"] for job in jobs]
    lost = statuses.count("failed") + statuses.count("cancelled")
    first = (str(statuses.count(each)) for each in ("pending", "processing", "complete"))
    return (*first, str(lost))  # type: ignore[return-value]


def _bar(jobs: Sequence[Json], total: int, *, width: int) -> ProgressBar:
    percent = sum(job["progress_percent"] for job in jobs)
    return ProgressBar(total=100 * total, completed=percent, width=width)
