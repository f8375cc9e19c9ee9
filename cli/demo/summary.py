"""The tables and the verdict that end a demo."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from cli import show
from cli.demo.systems import Run
from cli.demo.verdict import Claim, Outcome, total
from models.dollars import dollars


def sum_up(seen: Outcome, verdict: Sequence[Claim], *, took: float, folder: Path) -> bool:
    """Print everything; returns whether every claim holds."""
    for table in (_results(seen), _programs(seen.runs), _statement(seen)):
        show.out.print()
        show.out.print(table)
    show.out.print()
    for claim in verdict:
        show.out.print("[green]✓[/] " if claim.holds else "[bold red]✗[/] ", end="")
        show.result(claim.text)
    show.result(f"\n{took:.0f} s from the first submission to the last finished job.")
    if seen.looks is not None:
        show.result(str(seen.looks))
    show.result(f"Videos: {folder}\n")
    return all(claim.holds for claim in verdict)


def _results(seen: Outcome) -> Table:
    """All jobs, also those of other systems' programs, by model."""
    table = _table(
        "Results, with the jobs of other systems' programs",
        "model",
        "jobs",
        "complete",
        "video",
        "cost",
    )
    jobs = seen.every_job
    models = (*(shot.model for shot in seen.shots), *(job["model"] for job in jobs))
    for model in dict.fromkeys(models):
        ours = [job for job in jobs if job["model"] == model]
        done = [job for job in ours if job["status"] == "complete"]
        length = sum(job["duration_seconds"] for job in done)
        cost = show.money(total(ours))
        table.add_row(model, str(len(ours)), str(len(done)), f"{length} s", cost)
    return table


def _programs(runs: Sequence[Run]) -> Table:
    """What each program spoke through and to, and what it got."""
    title = "Programs of other systems, given Longtake's address and key"
    table = _table(title, "system", "client", "path", "got")
    for column in table.columns:
        column.justify = "left"
    for run in runs:
        table.add_row(run.system, run.client, run.program.path or "/", Text(_got(run)))
    return table


def _got(run: Run) -> str:
    if run.left_out is not None:
        return f"left out: {run.left_out}"
    if run.failure is not None or not run.jobs:
        return "failed"
    (job, *_) = run.jobs
    cost = show.money(total(run.jobs))
    return f"{job['model']}, {job['duration_seconds']} s, {cost}"


def _statement(seen: Outcome) -> Table:
    """The sums of the ledger's entries, by kind and account."""
    sums: Counter[tuple[str, str]] = Counter()
    for entry in seen.statement:
        sums[entry.entry_set.split()[0], entry.account] += entry.amount_micros
    table = _table("Statement", "entry", "account", "amount")
    table.columns[1].justify = "left"
    for (kind, account), amount in sums.items():
        table.add_row(kind, account, dollars(amount))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    """A table whose first column is text and whose others are figures."""
    table = Table(title=title, box=None, header_style="bold", title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
