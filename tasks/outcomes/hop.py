"""Hops: a gate's next model takes over the videos of an attempt that provably makes none.

A hop is made in the transaction that ends the attempt. It follows no attempt that may still be
accepted, and is not made past its job's deadline or maximum cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from catalog.plan import duration_route
from catalog.resolve import attempt_counts
from models import due
from models.advance import tell
from models.database import Connection, fetch_ids, fetch_rows
from models.estimate import SHARE_OF_ESTIMATE
from models.failure import Failure
from models.high_water import park_replacement
from models.ids import marker_after, new_id
from models.records import Json
from models.state import FINAL_JOB_STATES
from models.verbs import What
from providers.registry import capabilities_of

#: Locks an attempt's expected outputs in the order of their ids; returns them by position.
_LOCK_EXPECTED = """
WITH locked AS (
    SELECT id, position FROM output WHERE attempt = %s AND state = 'expected'
    ORDER BY id FOR UPDATE)
SELECT id FROM locked ORDER BY position
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
    #: Attempts that replaced it before: it was thought to have failed, and evidence came.
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
    if not failures:
        return frozenset()
    hopped = set()
    for left in await _left(connection, sorted(failures)):
        if await _move_on(connection, left, failures[left.id]):
            hopped.add(left.id)
    return frozenset(hopped)


async def _left(connection: Connection, attempts: Sequence[str]) -> list[_Left]:
    """Those of the attempts whose gate has other models, and whose job still has time."""
    return await fetch_rows(
        connection,
        _Left,
        f"""
        SELECT ended.id, ended.job, job.tenant, ended.marker, ended.choice, job.plan,
               job.fallbacks, job.request ->> 'max_cost_usd' AS max_cost_usd,
               (SELECT count(*) FROM attempt WHERE replaces = ended.id) AS replacements,
               (SELECT count(*) FROM output WHERE output.job = job.id) AS videos,
               (coalesce(ended.cost_micros, 0) + coalesce((
                   SELECT sum(coalesce(attempt.cost_micros, CASE
                       WHEN attempt.state IN ('refused', 'failed', 'cancelled') THEN 0
                       ELSE {SHARE_OF_ESTIMATE} END))
                   FROM attempt WHERE attempt.job = job.id AND attempt.id <> ended.id), 0)
               )::bigint AS committed_micros
        FROM attempt AS ended JOIN job ON job.id = ended.job
        WHERE ended.id = ANY(%(attempts)s) AND job.fallbacks IS NOT NULL
          AND NOT job.state = ANY(%(final)s) AND job.deadline_at > now()
          AND (job.start_by > now() OR job.start_by IS NULL OR job.accepted_at IS NOT NULL)
          AND NOT EXISTS (
              WITH RECURSIVE earlier (id, state, replaces) AS (
                  SELECT first.id, first.state, first.replaces FROM attempt AS first
                  WHERE first.id = ended.replaces
                  UNION
                  SELECT before.id, before.state, before.replaces
                  FROM attempt AS before JOIN earlier ON before.id = earlier.replaces)
              SELECT 1 FROM earlier WHERE state IN ('planned', 'sent', 'unknown'))
        ORDER BY ended.id
        """,  # noqa: S608 - a constant
        {"attempts": list(attempts), "final": list(FINAL_JOB_STATES)},
    )


async def _move_on(connection: Connection, left: _Left, failure: Failure) -> bool:
    """Whether the next model takes over; it does not for videos that nobody waits for any more."""
    expected = await fetch_ids(connection, _LOCK_EXPECTED, (left.id,))
    choice = left.next_choice(len(expected)) if expected else None
    if choice is None:
        return False
    plan = left.plan_of(choice)
    counts = attempt_counts(len(expected), most=capabilities_of(plan["provider"]).max_count)
    markers = _markers(left, len(counts))
    for count, marker in zip(counts, markers, strict=True):
        outputs, expected = expected[:count], expected[count:]
        attempt = await _plan(connection, left, choice, marker=marker, outputs=outputs)
        detail = {
            "attempt": attempt,
            "after": left.id,
            "from": left.plan_of(left.choice)["model"],
            "to": plan["model"],
            "code": failure.code,
        }
        await tell(connection, "gate.hop", [(left.job, detail)])
    return True


def _markers(left: _Left, count: int) -> list[str]:
    """One for each attempt; an older copy of the database can look these up."""
    numbers = range(left.replacements, left.replacements + count)
    return [
        marker_after(f"{left.marker}/{number}" if number else left.marker) for number in numbers
    ]


async def _plan(
    connection: Connection, left: _Left, choice: int, *, marker: str, outputs: Sequence[str]
) -> str:
    """Insert an attempt by this choice, which takes over the outputs; returns its id."""
    new, plan = new_id("att"), left.plan_of(choice)
    values: dict[str, Any] = {
        "id": new,
        "job": left.job,
        "provider": plan["provider"],
        "account": plan["account"],
        "route": duration_route(
            provider=plan["provider"],
            upstream=plan["upstream"],
            duration_seconds=plan["duration_seconds"],
        ),
        "choice": choice,
        "marker": marker,
        "count": len(outputs),
        "replaces": left.id,
    }
    await connection.execute(
        """
        INSERT INTO attempt (id, job, provider, account, route, choice, state, marker, count,
                             replaces)
        VALUES (%(id)s, %(job)s, %(provider)s, %(account)s, %(route)s, %(choice)s, 'planned',
                %(marker)s, %(count)s, %(replaces)s)
        """,
        values,
    )
    await park_replacement(connection, new, of=left.id)
    await connection.execute(
        "UPDATE output SET attempt = %s WHERE id = ANY(%s)", (new, list(outputs))
    )
    row = due.Row(id=new, lane=plan["account"], tenant=left.tenant)
    await due.put(connection, What.SUBMIT, [row])
    return new
