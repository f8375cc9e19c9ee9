"""Attempts: the row that intake inserts."""

from dataclasses import dataclass

from models.state import AttemptState

#: SQL: an attempt's plan. It reads `attempt` and `job`.
PLAN = "coalesce(job.fallbacks -> attempt.choice::text, job.plan)"
#: SQL: the estimate of all the job's videos by that plan, in millionths of a US dollar.
ESTIMATE = """coalesce(
    (job.fallbacks -> attempt.choice::text ->> 'estimated_cost_micros')::bigint,
    job.estimated_cost_micros)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """An attempt as intake inserts it."""

    id: str
    job: str
    provider: str
    account: str
    route: str
    state: AttemptState
    marker: str
    count: int
