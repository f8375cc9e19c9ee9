"""What operations took lately, by route, as it was learned: for operators."""

from dataclasses import dataclass
from datetime import datetime

from tasks.engine import Engine

#: Routes of one answer; the catalogue has far fewer.
MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A route's durations in seconds: 10th, 50th and 90th percentile of its latest successes."""

    route: str
    p10: float
    p50: float
    p90: float
    samples: int
    learned_at: datetime


async def list_learned(engine: Engine) -> list[Learned]:
    """All routes of which enough is known, in the order of their names, up to MOST."""
    sql = """
    SELECT route, p10, p50, p90, samples, learned_at FROM duration ORDER BY route LIMIT %s
    """
    return await engine.database.fetch(sql, (MOST,), row=Learned)
