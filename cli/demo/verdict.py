"""Verifies the demo's promises against videos, webhooks and the simulator's bill."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cli.api import Json
from cli.demo.films import Film
from cli.demo.gate import FIRST, NEXT, hops_of
from cli.demo.looks import Looks
from cli.demo.receiver import Receipt
from cli.demo.shots import Shot
from cli.demo.systems import Run
from models.budgets import Balance
from models.dollars import dollars
from models.rows.money import EntryRow

#: Maximum details shown per claim.
MAX_DETAILS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement and whether it is true."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything the demo collected; `jobs` in the order of `shots`."""

    shots: Sequence[Shot]
    jobs: Sequence[Json]
    films: Sequence[Film]
    #: Other systems' programs, with the jobs that they made.
    runs: Sequence[Run]
    receipts: Sequence[Receipt]
    #: Rows of the simulator's bill.
    bill: Sequence[Json]
    #: The tenant's money, and its entries in the ledger.
    balance: Balance
    statement: Sequence[EntryRow]
    #: How often operations were polled; None if none was.
    looks: Looks | None

    @property
    def every_job(self) -> list[Json]:
        """Our own jobs and those of the programs."""
        return [*self.jobs, *(job for run in self.runs for job in run.jobs)]

    @property
    def prompts(self) -> list[str]:
        """What was asked for: by each shot, and by each program that got as far as a job."""
        return [*(s.prompt for s in self.shots), *(run.prompt for run in self.runs if run.jobs)]


def claims(seen: Outcome) -> list[Claim]:
    return [
        _complete(seen),
        _playable(seen),
        _switched(seen),
        _notified_once(seen),
        _paid_once(seen),
        _priced(seen),
        _moved_on(seen),
        _balanced(seen),
    ]


def _complete(seen: Outcome) -> Claim:
    lost = [job for job in seen.jobs if job["status"] != "complete"]
    text = f"{len(seen.jobs) - len(lost)} of {len(seen.shots)} jobs are complete"
    reasons = [f"{job['id']} {job['status']}: {job.get('error_message', '')}" for job in lost]
    return Claim(text=_with(text, reasons), holds=not lost and len(seen.jobs) == len(seen.shots))


def _playable(seen: Outcome) -> Claim:
    details = [film.defect for film in seen.films if film.defect]
    good = len(seen.films) - len(details)
    frames = sum(film.frames for film in seen.films)
    text = f"{good} videos downloaded and played: right length, size and hash, {frames:,} frames"
    return Claim(text=_with(text, details), holds=good == len(seen.shots))


def _switched(seen: Outcome) -> Claim:
    """Every program that ran has one complete job and has saved its video."""
    ran = [run for run in seen.runs if run.left_out is None]
    wrong = {run.path.stem: problem for run in ran if (problem := _problem(run))}
    made = [f"{run.system} ({run.client})" for run in ran if run.path.stem not in wrong]
    text = f"{len(made)} of {len(ran)} programs of other systems finished: {', '.join(made)}"
    for reason in dict.fromkeys(run.left_out for run in seen.runs if run.left_out):
        names = [f"{run.system} ({run.client})" for run in seen.runs if run.left_out == reason]
        text += f"; left out: {', '.join(names)}: {reason}"
    return Claim(
        text=_with(text, [f"{name}: {why}" for name, why in wrong.items()]),
        holds=len(made) == len(ran) > 0,
    )


def _problem(run: Run) -> str | None:
    """What is wrong with a program that ran, if anything is."""
    if run.failure is not None:
        return run.failure
    if len(run.jobs) != 1:
        return f"it made {len(run.jobs)} jobs, not 1"
    if run.film is None:
        return f"its job is {run.jobs[0]['status']} and there is no {run.path.name}"
    return run.film.defect


def _notified_once(seen: Outcome) -> Claim:
    """One event per job; retries of an event share its id."""
    unsigned = sum(not receipt.is_signed for receipt in seen.receipts)
    events = {(receipt.job_id, receipt.id) for receipt in seen.receipts if receipt.is_signed}
    per_job = Counter(job_id for job_id, _ in events)
    wrong = [
        f"{job['id']} has {per_job[job['id']]} events"
        for job in seen.jobs
        if per_job[job["id"]] != 1
    ]
    wrong += [
        f"{receipt.job_id} was reported as {receipt.type}"
        for receipt in seen.receipts
        if receipt.type != "video.completed"
    ]
    text = f"{len(events)} webhooks, one for each job, {unsigned} with a wrong signature"
    return Claim(
        text=_with(text, wrong), holds=not wrong and not unsigned and len(events) == len(seen.shots)
    )


def _paid_once(seen: Outcome) -> Claim:
    paid = dict.fromkeys(seen.prompts, 0)
    for row in seen.bill:
        said = set(_texts(row["body"]))
        for prompt in paid:
            paid[prompt] += any(prompt in text for text in said)
    twice = [f"{count} x {prompt!r}" for prompt, count in paid.items() if count != 1]
    double = sum(count > 1 for count in paid.values())
    text = f"{len(seen.bill)} paid requests for {len(paid)} jobs, double-billed: {double}"
    return Claim(text=_with(text, twice), holds=not twice and len(seen.bill) == len(paid))


def _priced(seen: Outcome) -> Claim:
    jobs = seen.every_job
    free = [job["id"] for job in jobs if not job.get("cost_usd")]
    over = [job["id"] for job in jobs if job.get("cost_usd", 0) > job["estimated_cost_usd"]]
    text = f"every job has its cost, none above its estimate: ${total(jobs):.2f} in all"
    return Claim(text=_with(text, [*free, *over]), holds=not free and not over)


def _moved_on(seen: Outcome) -> Claim:
    """The provider of a gate's first model refused the job, so the gate's next model made it."""
    pairs = zip(seen.shots, seen.jobs, strict=False)
    of_gate = [job for shot, job in pairs if shot.gate is not None]
    moved = sum(
        job["perf"]["model_used"] == NEXT and hops_of(job) == [(FIRST, NEXT)] for job in of_gate
    )
    text = f"a gate moved {moved} of {len(of_gate)} jobs on from {FIRST} (out of credits) to {NEXT}"
    return Claim(text=text, holds=moved == len(of_gate) > 0)


def _balanced(seen: Outcome) -> Claim:
    """Each set of entries sums to zero, nothing stays reserved, and the jobs' costs are spent."""
    sums: Counter[str] = Counter()
    for entry in seen.statement:
        sums[entry.entry_set] += entry.amount_micros
    uneven = [f"{name} sums to {dollars(left)}" for name, left in sums.items() if left]
    spent, left = seen.balance.spent_micros, seen.balance.reserved_micros
    text = (
        f"{len(sums)} sets of entries in the ledger, each summing to zero: "
        f"{dollars(spent)} spent, {dollars(left)} still reserved"
    )
    is_spent = spent == round(total(seen.every_job) * 1_000_000)
    return Claim(
        text=_with(text, uneven), holds=bool(sums) and not uneven and is_spent and not left
    )


def total(jobs: Sequence[Json]) -> float:
    """Total cost in US dollars, at the vendors' list prices."""
    return sum(float(job.get("cost_usd", 0)) for job in jobs)


def _texts(body: Any) -> Iterator[str]:
    match body:
        case str():
            yield body
        case dict():
            for value in body.values():
                yield from _texts(value)
        case list():
            for value in body:
                yield from _texts(value)


def _with(text: str, details: Sequence[str]) -> str:
    shown = details[:MAX_DETAILS]
    more = [f"and {len(details) - len(shown)} more"] if len(details) > len(shown) else []
    return "\n    ".join((text, *shown, *more))
