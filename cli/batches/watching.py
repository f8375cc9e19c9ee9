"""Watches a batch to its end: a progress bar, or plain lines without a terminal."""

import time
from datetime import timedelta

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from cli import show
from cli.batches.connection import PATIENT, connected
from cli.errors import ExitCode, JobFailed
from longtake import Batch, Client

#: The shortest time between two plain lines, in seconds.
QUIET = 5.0
#: Seconds over which the rate is taken.
_PERIOD = 120.0
#: Failed lines that are shown at the end.
_REASONS = 5
_STATES = ("pending", "processing", "complete", "failed", "cancelled", "invalid")


def watch(batch_id: str, url: str | None, key: str | None) -> Batch:
    """The batch once it is final; Ctrl-C leaves it running and exits with 130.

    Raises:
        NotReached: the API was unavailable for about a minute.
        Refused: the batch is unknown.
    """
    view = _View()
    try:
        with connected(url, key, max_retries=PATIENT) as client:
            if not show.err.is_terminal:
                return client.batches.wait(batch_id, on_progress=view.tell)
            with Live(view, console=show.err, refresh_per_second=4):
                return client.batches.wait(batch_id, on_progress=view.update)
    except KeyboardInterrupt:
        show.say(f"The batch goes on. Come back with: longtake batch status {batch_id} --watch")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def conclude(client: Client, batch: Batch) -> None:
    """Raise JobFailed, after showing the first failed lines, unless all lines are complete."""
    lost = batch.counts.failed + batch.counts.cancelled
    if not lost:
        return
    if batch.counts.failed:
        failed = client.batches.results(batch.id, status="failed")
        for _, line in zip(range(_REASONS), failed, strict=False):
            name = f" ({line.custom_id})" if line.custom_id else ""
            reason = f"{line.error.message} ({line.error.code})" if line.error else "failed"
            show.say(f"line {line.line}{name}: {reason}")
        failed.close()
    told = ", ".join(f"{number} {state}" for state, number in _counts(batch) if state in _ENDED)
    raise JobFailed(f"{batch.id}: of {batch.counts.total} lines, {told}")


_ENDED = ("complete", "failed", "cancelled", "invalid")


def _counts(batch: Batch) -> list[tuple[str, int]]:
    """The states in which there are lines."""
    return [(state, number) for state in _STATES if (number := getattr(batch.counts, state))]


class _View:
    """What is on the screen: the latest batch, how fast it goes, and how long it will take."""

    def __init__(self) -> None:
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[pace]}"),
            console=show.err,
            auto_refresh=False,
            speed_estimate_period=_PERIOD,
        )
        self._bar = self._progress.add_task("", total=None, pace="")
        self._batch: Batch | None = None
        self._said: tuple[list[tuple[str, int]], float] = ([], -QUIET)

    def update(self, batch: Batch) -> None:
        counts = batch.counts
        done = counts.complete + counts.failed + counts.cancelled + counts.invalid
        if self._batch is None:  # what was done before is no part of the rate
            self._progress.update(self._bar, total=counts.total)
            self._progress.tasks[0].completed = done
        self._progress.update(self._bar, completed=done)
        self._progress.update(self._bar, pace=self._pace())
        self._batch = batch

    def tell(self, batch: Batch) -> None:
        """Say where it is, if that changed and was not said just before."""
        self.update(batch)
        counts, (before, at) = _counts(batch), self._said
        is_soon = time.monotonic() - at < QUIET and not batch.is_final
        if counts != before and not is_soon:
            self._said = (counts, time.monotonic())
            show.say(
                "; ".join(part for part in (self._states(), self._pace(), self._cost()) if part)
            )

    def __rich__(self) -> Group:
        if self._batch is None:
            return Group(Text("…"))
        name = f" {self._batch.name}" if self._batch.name else ""
        head = Text(f"{self._batch.id}{name}  {self._batch.status}", style="bold")
        states = Text("  ").join(
            Text(f"{state} {number}", style=show.STYLES.get(state, ""))
            for state, number in _counts(self._batch)
        )
        return Group(head, self._progress, states, Text(self._cost()))

    def _states(self) -> str:
        assert self._batch is not None  # noqa: S101 - set by `update`, which comes first
        return ", ".join(f"{number} {state}" for state, number in _counts(self._batch))

    def _pace(self) -> str:
        """Videos a minute and the time that is left; nothing until something has ended."""
        task = self._progress.tasks[0]
        speed = task.finished_speed or task.speed
        if not speed:
            return ""
        left = task.time_remaining
        more = f", {timedelta(seconds=round(left))} left" if left else ""
        return f"{speed * 60:.0f} videos/min{more}"

    def _cost(self) -> str:
        assert self._batch is not None  # noqa: S101 - as above
        spent = show.money(self._batch.cost_usd or 0)
        return f"{spent} of about {show.money(self._batch.estimated_cost_usd or 0)}"
