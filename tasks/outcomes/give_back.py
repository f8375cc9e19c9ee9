"""Videos handed back to an attempt that was replaced, and whose operation turned out to exist.

Late evidence takes videos back from what was planned in an attempt's place. What had been sent
already keeps them; if it makes none, the first operation, which is paid for, makes them after all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models import due
from models.advance import advance_jobs, tell
from models.database import Connection, fetch_ids, fetch_row
from models.state import AttemptState, JobState
from models.verbs import What
from tasks.engine import Engine
from tasks.outcomes.replacement import expected_of
from tasks.outcomes.sources import BY_POLL, write_sources

_REPLACED = "SELECT id FROM attempt WHERE id = ANY(%s) AND replaces IS NOT NULL ORDER BY id"
#: The nearest of the attempts that one has replaced, directly or not, with a live or a good
#: operation.
_EARLIER = """
WITH RECURSIVE earlier (id, replaces, nth) AS (
    SELECT first.id, first.replaces, 1 FROM attempt AS first
    WHERE first.id = (SELECT replaces FROM attempt WHERE id = %s)
    UNION
    SELECT before.id, before.replaces, nth + 1
    FROM attempt AS before JOIN earlier ON before.id = earlier.replaces)
SELECT attempt.id, attempt.state, attempt.account, attempt.job, job.tenant
FROM earlier JOIN attempt USING (id) JOIN job ON job.id = attempt.job
WHERE attempt.state IN ('accepted', 'succeeded') AND job.finished_at IS NULL
ORDER BY nth LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    id: str
    state: str
    account: str
    job: str
    tenant: str


async def give_back(
    engine: Engine, connection: Connection, attempts: Sequence[str]
) -> frozenset[str]:
    """Hand back the videos of attempts that make none; returns the attempts that had a taker.

    The caller has locked the attempts' jobs with all their due rows. Repeatable.
    """
    given = set()
    for attempt in await fetch_ids(connection, _REPLACED, (list(attempts),)) if attempts else ():
        earlier = await fetch_row(connection, _Earlier, _EARLIER, (attempt,))
        expected = await expected_of(connection, attempt) if earlier else []
        if earlier and expected:
            await _hand_over(engine, connection, earlier, expected)
            told = {"attempt": attempt, "to": earlier.id}
            await tell(connection, "attempt.gave_back", [(earlier.job, told)])
            given.add(attempt)
    return frozenset(given)


async def _hand_over(
    engine: Engine, connection: Connection, earlier: _Earlier, outputs: Sequence[str]
) -> None:
    await connection.execute(
        "UPDATE output SET attempt = %s WHERE id = ANY(%s)", (earlier.id, list(outputs))
    )
    await advance_jobs(connection, JobState.SUBMITTING, [earlier.job])
    await advance_jobs(connection, JobState.PROCESSING, [earlier.job])
    if earlier.state == AttemptState.ACCEPTED:  # it was to be cancelled
        await due.drop(connection, What.CANCEL, [earlier.id])
        row = due.Row(id=earlier.id, lane=earlier.account, tenant=earlier.tenant)
        await due.put(connection, What.POLL, [row])
        return
    await advance_jobs(connection, JobState.STORING, [earlier.job])
    await write_sources(engine, connection, dict.fromkeys(outputs, BY_POLL))
    rows = [due.Row(id=id_, lane=earlier.account, tenant=earlier.tenant) for id_ in outputs]
    await due.put(connection, What.STORE, rows)
