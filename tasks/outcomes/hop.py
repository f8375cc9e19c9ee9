"""Hops: a gate's next model takes over the videos of an attempt that provably makes none.

A hop is made in the transaction that ends the attempt. It follows no attempt that may still be
accepted, and is not made past its job's deadline or maximum cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from catalog.plan import duration_route
from catalog.resolve import attempt_counts
from models.advance import tell
from models.database import Connection, fetch_ids, fetch_row
from models.estimate import SHARE_OF_ESTIMATE
from models.failure import Failure
from models.records import Json
from models.state import FINAL_JOB_STATES
from providers.registry import capabilities_of
from tasks.outcomes.replacement import (
    REPLACEMENTS,
    Replacement,
    expected_of,
    marker_of,
    plan_replacement,
)
from tasks.outcomes.sent import HAS_TIME

_OF_GATES = """
SELECT attempt.id FROM attempt JOIN job ON job.id = attempt.job
WHERE attempt.id = ANY(%s) AND job.fallbacks IS NOT NULL ORDER BY attempt.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """An attempt whose videos its gate may have made by another model."""

    id: str
    job: str
    tenant: str
    marker: str
    choice: int
    plan: Json
    fallbacks: Json
    #: Attempts that have replaced it before.
    replacements: int
    #: Videos of the whole job.
    videos: int
    max_cost_usd: str | None
    #: What the job's attempts have cost or may cost, in millionths of a US dollar; of this one and
    #: of others that ended without a video, only what their providers told.
    committed_micros: int

    def next_choice(self, count: int) -> int | None:
        """The first of the models that follow by which `count` videos stay within the cost."""
        for choice in sorted(int(number) for number in self.fallbacks):
            if choice > self.choice and self._is_affordable(choice, count):
                return choice
        return None

    def _is_affordable(self, choice: int, count: int) -> bool:
        if self.max_cost_usd is None:
            return True
        estimate = Decimal(self.plan_of(choice)["estimated_cost_micros"]) * count / self.videos
        return self.committed_micros + estimate <= Decimal(self.max_cost_usd) * 1_000_000

    def plan_of(self, choice: int) -> Json:
        plan: Json = self.fallbacks.get(str(choice), self.plan)
        return plan


async def hop(connection: Connection, failures: Mapping[str, Failure]) -> frozenset[str]:
    """Plan attempts by the next model in place of those that just failed; returns the replaced.

    `failures` are by attempt. The caller has locked the attempts' jobs with all their due rows, and
    provably nothing more comes of the attempts.
    """
    hopped = set()
    for attempt in await fetch_ids(connection, _OF_GATES, (list(failures),)) if failures else ():
        # One by one: what a hop commits counts towards the next one's maximum cost.
        left = await _left(connection, attempt)
        if left is not None and await _move_on(connection, left, failures[attempt]):
            hopped.add(attempt)
    return frozenset(hopped)


async def _left(connection: Connection, attempt: str) -> _Left | None:
    """The attempt, if its gate has other models and its job still has time."""
    return await fetch_row(
        connection,
        _Left,
        f"""
        SELECT ended.id, ended.job, job.tenant, ended.marker, ended.choice, job.plan,
               job.fallbacks, job.request ->> 'max_cost_usd' AS max_cost_usd,
               {REPLACEMENTS.format(of="ended")} AS replacements,
               (SELECT count(*) FROM output WHERE output.job = job.id) AS videos,
               (coalesce(ended.cost_micros, 0) + coalesce((
                   SELECT sum(coalesce(attempt.cost_micros, CASE
                       WHEN attempt.state IN ('refused', 'failed', 'cancelled') THEN 0
                       ELSE {SHARE_OF_ESTIMATE} END))
                   FROM attempt WHERE attempt.job = job.id AND attempt.id <> ended.id), 0)
               )::bigint AS committed_micros
        FROM attempt AS ended JOIN job ON job.id = ended.job
        WHERE ended.id = %(attempt)s AND job.fallbacks IS NOT NULL
          AND NOT job.state = ANY(%(final)s) AND {HAS_TIME}
          AND NOT EXISTS (
              WITH RECURSIVE earlier (id, state, replaces) AS (
                  SELECT first.id, first.state, first.replaces FROM attempt AS first
                  WHERE first.id = ended.replaces
                  UNION
                  SELECT before.id, before.state, before.replaces
                  FROM attempt AS before JOIN earlier ON before.id = earlier.replaces)
              SELECT 1 FROM earlier
              WHERE state IN ('planned', 'sent', 'unknown', 'accepted', 'succeeded'))
        """,  # noqa: S608 - a constant
        {"attempt": attempt, "final": list(FINAL_JOB_STATES)},
    )


async def _move_on(connection: Connection, left: _Left, failure: Failure) -> bool:
    """Whether the next model takes over; it does not for videos that nobody waits for any more."""
    expected = await expected_of(connection, left.id)
    choice = left.next_choice(len(expected)) if expected else None
    if choice is None:
        return False
    plan = left.plan_of(choice)
    counts = attempt_counts(len(expected), most=capabilities_of(plan["provider"]).max_count)
    for number, count in enumerate(counts, left.replacements):
        outputs, expected = expected[:count], expected[count:]
        new = _replacement(left, choice, marker=marker_of(left.marker, number))
        detail = {
            "attempt": await plan_replacement(connection, new, outputs),
            "after": left.id,
            "from": left.plan_of(left.choice)["model"],
            "to": plan["model"],
            "code": failure.code,
        }
        await tell(connection, "gate.hop", [(left.job, detail)])
    return True


def _replacement(left: _Left, choice: int, *, marker: str) -> Replacement:
    plan = left.plan_of(choice)
    return Replacement(
        of=left.id,
        job=left.job,
        tenant=left.tenant,
        provider=plan["provider"],
        account=plan["account"],
        route=duration_route(
            provider=plan["provider"],
            upstream=plan["upstream"],
            duration_seconds=plan["duration_seconds"],
        ),
        choice=choice,
        marker=marker,
    )
