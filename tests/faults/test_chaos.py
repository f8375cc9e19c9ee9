"""Jobs over all providers under all faults at once: what was promised holds, whatever happens."""

import secrets
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from tests.faults.conftest import Print
from tests.faults.harness.batches import Batches, Sent, jobs_of, judge_batches
from tests.faults.harness.brokers import Broker, NoBroker, RabbitMq
from tests.faults.harness.far_hosts import far_hosts
from tests.faults.harness.hostile import HOSTILE, QUIET, Neighbours
from tests.faults.harness.judge import Verdict, judge
from tests.faults.harness.post import Post
from tests.faults.harness.receiver import receiving
from tests.faults.harness.sieges import DRIPS, chosen, seconds_of
from tests.faults.harness.stack import Crew, FaultStack, fault_stack
from tests.faults.harness.strikes import Storm
from tests.faults.harness.tables import table
from tests.faults.harness.waits import in_seconds, judge_waits, note_claims
from tests.faults.harness.wishes import BUDGET, METERED, gates, wishes

pytestmark = pytest.mark.chaos

#: One more job goes as a Celery message after so many over HTTP, where any do.
MESSAGES = 20
#: Of a thousand requests to a provider, so many are struck.
STRUCK = 40
#: Seconds after the last strike in which everything must have come to its end.
TO_SETTLE = 420.0

#: Nothing is due but what only an answer can end, or the time in which it might still come.
_ALL_DONE = """
SELECT count(*) = 0 FROM due WHERE what <> 'submit' OR id NOT IN (
    SELECT attempt.id FROM attempt JOIN job ON job.id = attempt.job
    WHERE attempt.state = 'sent' AND job.finished_at IS NOT NULL)
"""

_DUE_LATER = """
SELECT id, tenant FROM due
WHERE what = 'deliver' AND at > now() + interval '10 seconds' LIMIT 500
"""
#: Replays made its tries by the dozen, until there were none left; now its host answers.
_EXHAUSTED = "SELECT id, tenant FROM delivery WHERE state = 'exhausted' AND tenant = ANY(%s)"

CREW = Crew(workers=3, beats=2, lease=5.0)
#: Processes of the worker that the siege `claims` adds.
MORE_PROCESSES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the random run is given."""

    jobs: int
    seed: int
    broker: str
    #: Jobs a second that are asked for while the stack is struck, at most.
    most_pace: float
    #: Names of the misfortunes of minutes.
    sieges: tuple[str, ...]
    #: Whether processes watch operations from memory.
    has_residents: bool = True

    @property
    def pace(self) -> float:
        """Jobs a second: so slow that there are some until the last siege is over."""
        return min(self.most_pace, self.jobs / (seconds_of(self.sieges) or 1.0))


@pytest.fixture
def run(pytestconfig: pytest.Config) -> Run:
    seed = pytestconfig.getoption("chaos_seed")
    return Run(
        jobs=pytestconfig.getoption("chaos_jobs"),
        seed=secrets.randbelow(2**32) if seed is None else seed,
        broker=pytestconfig.getoption("chaos_broker"),
        most_pace=pytestconfig.getoption("chaos_pace"),
        sieges=chosen(pytestconfig.getoption("chaos_sieges")),
        has_residents=pytestconfig.getoption("chaos_residents") == "on",
    )


@contextmanager
def chaos_stack(run: Run, *, names: str) -> Iterator[FaultStack]:
    """The stack, whose processes look up users' hosts at the name server `names`."""
    broker: Broker | None = None
    if run.broker == "rabbitmq":
        try:
            broker = RabbitMq()
        except NoBroker as error:
            pytest.skip(str(error))
    residents = "true" if run.has_residents else "false"
    variables = {"LONGTAKE_NAME_SERVERS": names, "LONGTAKE_RESIDENT_POLLS": residents}
    crew = replace(CREW, variables=variables)
    with fault_stack(crew, broker=broker) as stack:
        yield stack


def test_all_faults_at_once(run: Run, print_at_the_end: Print) -> None:
    began = time.monotonic()
    with (
        far_hosts() as hosts,
        chaos_stack(run, names=hosts.names) as stack,
        receiving() as moody,
        receiving() as quiet,
    ):
        # Given a storm over the stack, the providers and a receiver
        post = Post(stack)
        receivers = [stack.receiver, moody]
        note_claims(stack)
        _open_gates(stack)
        neighbours = Neighbours(stack, hosts, quiet)
        storm = Storm(stack, receivers, seed=run.seed, post=post, sieges=run.sieges)
        stack.simulator.storm(seed=run.seed, rate=STRUCK / 1000)
        storm.begin()
        neighbours.begin()

        # When jobs are asked for all the while, and other tenants take what they can get
        try:
            accepted, sent = _submit_all(stack, run, storm, post)
        except BaseException:
            storm.end(in_haste=True)
            neighbours.end()
            raise
        storm.end()
        neighbours.end()
        refused = run.jobs - len(accepted) - sum(len(batch.names) for batch in sent)
        accepted += [*post.taken, *neighbours.accepted]
        stack.simulator.calm()
        stack.start()

        # Then, once it is over, everything comes to its end, and every promise was kept
        is_settled = _settle(stack, post)
        lost_messages = post.lost()
        accepted += jobs_of(stack)
        sent += neighbours.sent
        receipts = [*stack.receiver.receipts, *moody.receipts, *quiet.receipts, *hosts.receipts]
        wrong, receipts = judge_batches(stack, sent, receipts)
        verdict = judge(stack, accepted, receipts)
        verdict.invalid += wrong
        processes = CREW.workers + MORE_PROCESSES * ("claims" in run.sieges)
        waits = judge_waits(stack, tenant=QUIET, hostile=HOSTILE, processes=processes)
        verdict.waits = waits.broken
        left = stack.rows("SELECT what, id, lane, at - now() AS wait, tries FROM due")
        said = stack.doctor()
        batches = f"{len(sent)}, wrong {len(wrong)}"
        beside = [
            ("hostile tenants", len(HOSTILE)),
            *neighbours.table(),
            ("a quiet tenant beside them, jobs", len(neighbours.quiet_waits)),
            *waits.table,
            ("  seconds until its submissions were answered", in_seconds(neighbours.quiet_waits)),
        ]
        asked = [*_gated(stack), ("batches", batches), ("refused: the budget was used up", refused)]
    report = _report(
        *(run, verdict, storm),
        messages=f"{len(post.taken)}, lost {len(lost_messages)}; not taken {post.refused}",
        asked=asked,
        beside=beside,
        doctor=said,
        seconds=time.monotonic() - began,
    )
    print_at_the_end(f"chaos on {run.broker}", report)
    assert not verdict.broken, "\n".join(verdict.broken)
    assert said == "Every invariant holds."
    assert is_settled, left


def _open_gates(stack: FaultStack) -> None:
    """The gates that jobs go through, and the budget of the app that has one."""
    with stack.client() as client:
        for gate in gates(stack.providers):
            client.create_gate(gate)
    stack.longtake("money", "budget", "default", "--app", METERED, "--total", str(BUDGET))


def _submit_all(
    stack: FaultStack, run: Run, storm: Storm, post: Post
) -> tuple[list[str], list[Sent]]:
    """The ids of all jobs that were answered with 202, and the batches; some more are messages."""
    accepted: list[str] = []
    unwanted: dict[int, list[str]] = defaultdict(list)
    wished = wishes(
        run.jobs,
        seed=run.seed,
        providers=stack.providers,
        receivers=storm.receivers,
        favoured=storm.field.favoured if run.sieges else (),
        drips=DRIPS in run.sieges,
    )
    began = time.monotonic()
    with stack.client() as client:
        batches = Batches(client, storm.receivers[-1])
        for number, wish in enumerate(wished):
            # After an outage we are behind, and hurry.
            time.sleep(max(0.0, began + number / run.pace - time.monotonic()))
            if batches.take(number, wish):
                continue
            job = client.ask(wish.body, key=wish.name, app=wish.app)
            if job is None:
                continue
            accepted.append(job)
            if "intake" in run.sieges and number % MESSAGES == 0:
                post.send()
            if wish.cancelled_after is not None:
                unwanted[number + wish.cancelled_after].append(job)
            for each in unwanted.pop(number, ()):
                client.cancel(each)
        batches.end()
    return accepted, batches.sent


def _settle(stack: FaultStack, post: Post) -> bool:
    """Whether everything ended in time; webhooks that wait for hours are sent again at once."""
    until = time.monotonic() + TO_SETTLE
    while time.monotonic() < until:
        _replay_what_waits(stack)
        _hurry_what_is_parked(stack)
        if not stack.until(_ALL_DONE, within=10):
            continue
        # A message that a worker is about to take is work that no row tells of yet.
        is_done = post.is_delivered() and stack.until(_ALL_DONE, within=10)
        if is_done and not stack.rows(_EXHAUSTED, list(HOSTILE)):
            return True
        time.sleep(0.5)
    return False


def _replay_what_waits(stack: FaultStack) -> None:
    waiting = [*stack.rows(_DUE_LATER), *stack.rows(_EXHAUSTED, list(HOSTILE))]
    for tenant in sorted({row["tenant"] for row in waiting}):
        with stack.client(tenant) as client:
            for row in waiting:
                if row["tenant"] == tenant:
                    client.replay(row["id"])


def _hurry_what_is_parked(stack: FaultStack) -> None:
    """Retry now what our own faults put off for minutes: how long it waits is not the point."""
    stack.rows(
        "UPDATE due SET at = now() WHERE faults > 0 AND lease IS NULL "
        "AND at > now() + interval '10 seconds' RETURNING id"
    )


def _gated(stack: FaultStack) -> list[tuple[str, object]]:
    """How many jobs went through gates, how often one moved on, and how many providers served."""
    counts = {
        "  of which through gates": "SELECT count(*) AS n FROM job WHERE gate IS NOT NULL",
        "  hops of gates": "SELECT count(*) AS n FROM event WHERE kind = 'gate.hop'",
        "providers": "SELECT count(DISTINCT provider) AS n FROM attempt",
    }
    return [(words, stack.rows(sql)[0]["n"]) for words, sql in counts.items()]


def _command(run: Run) -> str:
    sieges = ",".join(run.sieges) or "none"
    words = f"JOBS={run.jobs} PACE={run.most_pace:g} SEED={run.seed} BROKER={run.broker}"
    residents = "" if run.has_residents else " RESIDENTS=off"
    return f"make chaos {words} SIEGES={sieges}{residents}"


def _report(
    run: Run,
    verdict: Verdict,
    storm: Storm,
    *,
    messages: str,
    asked: Sequence[tuple[str, object]],
    beside: Sequence[tuple[str, object]],
    doctor: str,
    seconds: float,
) -> str:
    ended = ", ".join(f"{number} {state}" for state, number in sorted(verdict.ended.items()))
    rows: Sequence[tuple[str, object]] = (
        ("jobs accepted", verdict.accepted),
        ("  of which by Celery", messages),
        *asked,
        ("final", f"{verdict.ended.total()}: {ended}"),
        ("lost", len(verdict.lost)),
        ("paid POSTs on the bill", verdict.billed),
        ("double-billed", len(verdict.double_billed)),
        ("succeeded upstream, failed here", len(verdict.fell_short)),
        *((f"  {why}", times) for why, times in verdict.shortfalls.most_common()),
        ("unknown, parked", verdict.unknown),
        ("may still be answered, parked", verdict.sent),
        *((f"  answer lost: {why}", times) for why, times in verdict.reasons.most_common()),
        ("webhooks delivered", f"{verdict.delivered} events in {verdict.posts} POSTs"),
        ("webhooks invalid", len(verdict.invalid)),
        ("invariants checked", f"{verdict.invariants}, violated {len(verdict.violations)}"),
        ("longtake doctor", doctor.splitlines()[-1] if doctor else "said nothing"),
        *beside,
        *((f"  struck by {blow}", times) for blow, times in sorted(storm.struck.items())),
        *((f"  most claims of a row, {at}", n) for at, n in storm.field.most_tries.items()),
        ("seconds", round(seconds)),
        ("replay with", _command(run)),
    )
    return table(("what", "how many"), rows)
