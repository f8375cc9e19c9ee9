"""Whether every promise was kept, from the database, the simulator's bill and the receivers' log.

It reads nothing else: no log, no message, nothing that our own processes remember.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from models.invariants import INVARIANTS, Violation
from providers.registry import PROVIDERS
from tests.faults.harness.receiver import Receipt
from tests.faults.harness.stack import FaultStack, Row

#: The part of a prompt that no other has: see `wishes`.
_NAME = re.compile(r"take-[0-9a-f]+-\d{5}")

_ATTEMPTS = """
SELECT attempt.id, attempt.job, attempt.provider, attempt.state, attempt.marker,
       attempt.operation_id, attempt.sent_at, attempt.count, job.prompt, job.unknown_policy,
       job.state AS job_state, job.error ->> 'code' AS job_error,
       job.deleted_at IS NOT NULL AS is_erased
FROM attempt JOIN job ON job.id = attempt.job ORDER BY attempt.id
"""
_DELIVERIES = """
SELECT job.id AS job, job.state AS job_state, job.webhook IS NOT NULL AS has_webhook,
       delivery.id, delivery.state, delivery.tries, job.deleted_at IS NOT NULL AS is_erased
FROM job LEFT JOIN delivery ON delivery.job = job.id ORDER BY job.id
"""
_REASONS = """
SELECT detail ->> 'reason' AS reason, count(*) AS n FROM event
WHERE kind = 'attempt.unknown' GROUP BY 1
"""
_NOT_STORED = """
SELECT attempt, coalesce(error ->> 'code', state) AS reason FROM output WHERE state <> 'stored'
"""
#: Ends for which a made video is no broken promise: nobody waited any longer, or nobody knew of it.
_EXCUSED = {"deadline_exceeded", "submit_unknown"}
#: Providers that report nothing after the answer to the paid request.
SYNCHRONOUS = {name for name, each in PROVIDERS.items() if each.capabilities.synchronous}
_STATUS = {"complete": "complete", "failed": "failed", "cancelled": "cancelled"}


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was found; every list but `reasons` is of broken promises, in words."""

    accepted: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    #: Accepted and not final, or not there at all.
    lost: list[str] = field(default_factory=list)
    #: Attempts or jobs that were paid for more often than they may.
    double_billed: list[str] = field(default_factory=list)
    billed: int = 0
    #: Attempts whose answer nobody has, and those that may still get theirs.
    unknown: int = 0
    sent: int = 0
    #: Why answers were lost, and how often.
    reasons: Counter[str] = field(default_factory=Counter)
    delivered: int = 0
    posts: int = 0
    #: Videos that a provider made for a job that still wanted them, and that are not ours; why.
    fell_short: list[str] = field(default_factory=list)
    shortfalls: Counter[str] = field(default_factory=Counter)
    #: Webhooks with a wrong signature, another body, a wrong state, or that nobody got.
    invalid: list[str] = field(default_factory=list)
    #: Rows of a quiet tenant that were passed over.
    waits: list[str] = field(default_factory=list)
    invariants: int = len(INVARIANTS)
    violations: list[Violation] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        """Every broken promise, in words."""
        contradictions = [f"{each.id}: not true that {each.words}" for each in self.violations]
        lost = [f"{job} was accepted and is not final" for job in self.lost]
        found = [*lost, *self.double_billed, *self.fell_short, *self.invalid, *self.waits]
        return [*found, *contradictions]


def judge(stack: FaultStack, accepted: Sequence[str], receipts: Sequence[Receipt]) -> Verdict:
    """The verdict over the jobs that were accepted, by HTTP or by the broker; ask it at the end."""
    verdict = Verdict(accepted=len(accepted))
    _judge_jobs(verdict, stack.rows("SELECT id, state FROM job"), accepted)
    owners, bill = _Owners(stack.rows(_ATTEMPTS)), stack.simulator.bill()
    _judge_bill(verdict, owners, bill)
    succeeded = stack.simulator.succeeded()
    made = [row for row in bill if _names(row) in succeeded]
    _judge_videos(verdict, owners, made, stack.rows(_NOT_STORED))
    _judge_webhooks(verdict, stack.rows(_DELIVERIES), receipts)
    for row in stack.rows(_REASONS):
        verdict.reasons[_in_short(row["reason"])] += row["n"]
    verdict.violations = stack.contradictions()
    return verdict


def _judge_jobs(verdict: Verdict, jobs: Sequence[Row], accepted: Sequence[str]) -> None:
    states = {row["id"]: row["state"] for row in jobs}
    verdict.ended = Counter(states[job] for job in accepted if states.get(job) in _STATUS)
    verdict.lost = [job for job in accepted if states.get(job) not in _STATUS]


def _judge_bill(verdict: Verdict, owners: "_Owners", bill: Sequence[Mapping[str, object]]) -> None:
    """Every charge belongs to one attempt, and no attempt to two charges."""
    attempts = list(owners.by_id.values())
    verdict.billed = len(bill)
    verdict.unknown = sum(attempt["state"] == "unknown" for attempt in attempts)
    verdict.sent = sum(attempt["state"] == "sent" for attempt in attempts)
    charges: Counter[str] = Counter()
    nameless: Counter[str] = Counter()
    for charge in bill:
        owner, name = owners.of(charge)
        if owner is not None:
            charges[owner] += 1
        elif name is not None:
            nameless[name] += 1
        else:
            verdict.double_billed.append(f"nobody asked for {charge['operation_id']}")
    for attempt in attempts:
        if charges[attempt["id"]] > 1:
            words = f"{attempt['id']} was paid for {charges[attempt['id']]} times"
            verdict.double_billed.append(words)
    for name, of_job in owners.by_name.items():
        if of_job:
            verdict.double_billed += _wrong_with(name, of_job, charges, nameless[name])
    # Of an erased job nothing is kept that a charge could name.
    erased = sum(each["is_erased"] and each["sent_at"] is not None for each in attempts)
    strange = [name for name in nameless if not owners.by_name[name]]
    if sum(nameless[name] for name in strange) > erased:
        words = f"{', '.join(strange)} were paid for; {erased} attempts of erased jobs were sent"
        verdict.double_billed.append(words)


def _judge_videos(
    verdict: Verdict,
    owners: "_Owners",
    made: Sequence[Mapping[str, object]],
    not_stored: Sequence[Row],
) -> None:
    """What was made upstream, and known and wanted here, is stored."""
    missing: dict[str, list[str]] = defaultdict(list)
    for output in not_stored:
        missing[output["attempt"]].append(output["reason"])
    for charge in made:
        owner, _ = owners.of(charge)
        attempt = owners.by_id.get(owner or "")
        if attempt is None or attempt["operation_id"] is None or _is_excused(attempt):
            continue
        # A job that ended with some of its videos says of the others alone why they are missing.
        for reason in (each for each in missing[attempt["id"]] if each not in _EXCUSED):
            why = f"{charge['provider']}: {reason}"
            verdict.fell_short.append(
                f"{charge['operation_id']} of {attempt['job']} succeeded upstream and is not here: "
                f"{why}"
            )
            verdict.shortfalls[why] += 1


def _is_excused(attempt: Row) -> bool:
    """Whether our side can't be blamed: nobody wanted it, nobody could know, or its vendor said so.

    A synchronous provider has one answer; when that tells of a failure there is nothing to poll.
    """
    says_failed = attempt["provider"] in SYNCHRONOUS and attempt["state"] == "failed"
    return attempt["job_state"] == "cancelled" or attempt["job_error"] in _EXCUSED or says_failed


def _names(charge: Mapping[str, object]) -> tuple[str, str]:
    return str(charge["provider"]), str(charge["operation_id"])


def _wrong_with(
    name: str, attempts: Sequence[Row], charges: Counter[str], nameless: int
) -> Iterator[str]:
    """What does not add up for one job; `nameless` charges tell the job, but not the attempt."""
    free = [attempt for attempt in attempts if not charges[attempt["id"]]]
    for attempt in attempts:
        if charges[attempt["id"]] and not _was_taken(attempt):
            yield f"{attempt['id']} was paid for, and yet it is {attempt['state']}"
    takers = sum(map(_was_taken, free))
    if nameless > takers:
        yield f"{name} was paid for {nameless} times by {takers} attempts that were taken"
    makers = sum(attempt["state"] == "succeeded" for attempt in free)
    if makers > nameless:
        yield f"{name} has videos that nobody was paid for"


def _was_taken(attempt: Row) -> bool:
    """Whether it has an operation, or may have one: its answer is not known."""
    return attempt["operation_id"] is not None or attempt["state"] in {"sent", "unknown"}


class _Owners:
    """Which job a charge belongs to, and which of its attempts."""

    def __init__(self, attempts: Sequence[Row]) -> None:
        self.by_id = {attempt["id"]: attempt for attempt in attempts}
        self.by_name: dict[str, list[Row]] = defaultdict(list)
        for attempt in attempts:
            if name := _NAME.search(attempt["prompt"]):
                self.by_name[name.group()].append(attempt)

    def of(self, charge: Mapping[str, object]) -> tuple[str | None, str | None]:
        """The attempt's id, by operation or marker where the charge tells it; the job's name."""
        text = json.dumps(charge, ensure_ascii=False)
        found = _NAME.search(text)
        name = found.group() if found else ""
        operation = str(charge["operation_id"])
        for attempt in self.by_name[name]:
            # Some of our ids say more than the provider's own, such as the kind of operation.
            is_its_own = (attempt["operation_id"] or "").endswith(operation)
            if is_its_own or attempt["marker"] in text:
                return attempt["id"], name
        return None, name or None


def _judge_webhooks(
    verdict: Verdict, deliveries: Sequence[Row], receipts: Sequence[Receipt]
) -> None:
    of_job: dict[str, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        of_job[receipt.job].append(receipt)
    verdict.posts = len(receipts)
    for row in deliveries:
        came = of_job.pop(row["job"], [])
        if row["is_erased"]:  # with its receiver; what came before was right or wrong unseen
            continue
        if not row["has_webhook"]:
            verdict.invalid += [f"{row['job']} asked for no webhook"] * bool(came)
            continue
        problems = list(_problems(row, came))
        verdict.invalid += [f"{row['job']}: {problem}" for problem in problems]
        verdict.delivered += not problems
    verdict.invalid += [f"{job} is no job, and a webhook tells of it" for job in of_job]


def _problems(row: Row, came: Sequence[Receipt]) -> list[str]:
    """What is wrong with the webhooks of one job."""
    expected = "completed" if row["job_state"] == "complete" else row["job_state"]
    checks = {
        "a signature is wrong": all(receipt.is_signed for receipt in came),
        "its tries have several ids": {receipt.id for receipt in came} <= {row["id"]},
        "its tries have several bodies": len({receipt.sha256 for receipt in came}) <= 1,
        "it tells another state": all(
            (receipt.type, receipt.status) == (f"video.{expected}", row["job_state"])
            for receipt in came
        ),
        f"it is {row['state']}": row["state"] == "delivered",
        "nobody got it": any(receipt.is_taken for receipt in came),
    }
    return [problem for problem, holds in checks.items() if not holds]


def _in_short(reason: str) -> str:
    """Without the address, so that alike ones are counted together."""
    return re.sub(r"^POST \S+: ", "", reason)
