"""Operations that ended: attempts become final, links become outputs that are due to be stored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models import due
from models.advance import Clock, advance_attempts, advance_jobs, fail_outputs, tell
from models.database import Connection
from models.estimate import SHARE_OF_ESTIMATE
from models.failure import Failure, Fault
from models.state import FINAL_JOB_STATES, AttemptState, JobState
from models.verbs import What
from providers.base import Phase, Update, Video
from providers.failures import without_echoes
from tasks.engine import Engine
from tasks.outcomes.attempt import AttemptRef
from tasks.outcomes.finish import settle
from tasks.outcomes.give_back import give_back
from tasks.outcomes.hop import hop
from tasks.outcomes.sources import source_of, write_sources

#: Seconds after acceptance at which an unwanted operation that does not end is abandoned. Our
#: choice: the longest that a vendor documents to keep one is two days
#: (ai.google.dev/gemini-api/docs/video).
ABANDONED_AFTER = 48 * 3600.0

ABANDONED = Failure(
    fault=Fault.UNKNOWN,
    code="operation_abandoned",
    message="the operation was no longer wanted and did not end; its cost is an estimate",
)
NO_VIDEO = Failure(fault=Fault.UNKNOWN, code="no_video", message="the provider made no video")

_ENDS = {
    Phase.SUCCEEDED: AttemptState.SUCCEEDED,
    Phase.FAILED: AttemptState.FAILED,
    Phase.CANCELLED: AttemptState.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt whose operation reached a final phase."""

    attempt: AttemptRef
    update: Update
    #: How often it was polled; 0 if no poll saw its end.
    polls: int = 0
    #: Since when it ran, and when it was last seen to; where a poll saw its end.
    clock: Clock | None = None


async def record_ended(
    engine: Engine,
    connection: Connection,
    ended: Sequence[Ended],
    *,
    others: Sequence[str] = (),
) -> None:
    """Write the ends of a batch, and settle the jobs that end with them. Repeatable.

    `others` are jobs that may end too: one call settles all, so budgets are locked in order.
    """
    jobs = set(others)
    for phase, to in _ENDS.items():
        of_phase = [one for one in ended if one.update.phase is phase]
        jobs |= await _record(engine, connection, to, of_phase)
    await settle(engine, connection, sorted(jobs))


async def record_abandoned(connection: Connection, ids: Sequence[str]) -> None:
    """Stop polling unwanted operations that do not end. Repeatable.

    They may have run and been paid for, so each costs its share of the job's estimate.
    """
    if not ids:
        return
    cursor = await connection.execute(
        f"""
        SELECT attempt.id, {SHARE_OF_ESTIMATE} AS estimate
        FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.id = ANY(%s)
        """,  # noqa: S608 - a constant
        (list(ids),),
    )
    costs = {row["id"]: row["estimate"] for row in await cursor.fetchall()}
    failures = dict.fromkeys(ids, ABANDONED)
    moved = await advance_attempts(
        connection, AttemptState.FAILED, ids, failures=failures, costs=costs
    )
    await due.drop(connection, What.POLL, ids)
    told = [(row["job"], {"attempt": row["id"], "cost_micros": costs[row["id"]]}) for row in moved]
    await tell(connection, "attempt.abandoned", told)


async def _record(
    engine: Engine, connection: Connection, to: AttemptState, ended: Sequence[Ended]
) -> set[str]:
    """Write the ends of one phase; returns the jobs of the attempts that moved."""
    if not ended:
        return set()
    by_id = {one.attempt.id: one for one in ended}
    failures: dict[str, Failure] = {}
    if to is not AttemptState.SUCCEEDED:
        failures = await _without_prompts(connection, ended)
    costs = {
        one.attempt.id: one.update.cost_micros
        for one in ended
        if one.update.cost_micros is not None
    }
    polls = {one.attempt.id: one.polls for one in ended}
    moved = await advance_attempts(
        connection,
        to,
        list(by_id),
        failures=failures,
        costs=costs,
        polls=polls,
        clocks={one.attempt.id: one.clock for one in ended if one.clock},
    )
    await due.drop(connection, What.POLL, list(by_id))
    if to is AttemptState.SUCCEEDED:
        await _record_videos(engine, connection, [by_id[row["id"]] for row in moved])
    else:
        lost = {row["id"]: failures[row["id"]] for row in moved}
        given_back = await give_back(engine, connection, list(lost))
        left = {id_: each for id_, each in lost.items() if id_ not in given_back}
        again = {id_: each for id_, each in left.items() if each.fault.may_be_tried_again}
        hopped = await hop(connection, again)
        left = {id_: each for id_, each in left.items() if id_ not in hopped}
        await fail_outputs(connection, left, of="attempt")
    return {row["job"] for row in moved}


async def _without_prompts(connection: Connection, ended: Sequence[Ended]) -> dict[str, Failure]:
    """The failures without the prompts that vendors quote in their errors."""
    cursor = await connection.execute(
        "SELECT id, prompt FROM job WHERE id = ANY(%s)", ([one.attempt.job for one in ended],)
    )
    prompts = {row["id"]: row["prompt"] for row in await cursor.fetchall()}
    return {
        one.attempt.id: _without_prompt(one.update.failure or NO_VIDEO, prompts[one.attempt.job])
        for one in ended
    }


def _without_prompt(failure: Failure, prompt: str) -> Failure:
    if not prompt:  # the job is erased: what the vendor quotes can't be told from what it says
        return replace(failure, message="the operation failed after its job was deleted")
    return without_echoes(failure, sent=prompt, secrets=())


async def _record_videos(engine: Engine, connection: Connection, ended: Sequence[Ended]) -> None:
    """Record the videos of jobs that have not ended; a missing video has failed."""
    live = await _lock_live(connection, sorted({one.attempt.job for one in ended}))
    wanted = {one.attempt.id: one.attempt for one in ended if one.attempt.job in live}
    # Not locked: writing an expected output requires the lock of its job, which we hold.
    cursor = await connection.execute(
        """
        SELECT id, attempt FROM output WHERE attempt = ANY(%s) AND state = 'expected'
        ORDER BY attempt, position
        """,
        (list(wanted),),
    )
    videos = {one.attempt.id: list(one.update.videos) for one in ended}
    ready: dict[str, Video] = {}
    rows: list[due.Row] = []
    missing: dict[str, Failure] = {}
    outputs = await cursor.fetchall()
    # Not of an attempt whose videos another is to make.
    jobs = {wanted[output["attempt"]].job for output in outputs}
    await advance_jobs(connection, JobState.STORING, sorted(jobs))
    for output in outputs:
        one = wanted[output["attempt"]]
        if videos[one.id]:
            ready[output["id"]] = videos[one.id].pop(0)
            rows.append(due.Row(id=output["id"], lane=one.account, tenant=one.tenant))
        else:
            missing[output["id"]] = NO_VIDEO
    sources = {id_: source_of(video) for id_, video in ready.items()}
    await write_sources(engine, connection, sources)
    await fail_outputs(connection, missing, of="id")
    await due.put(connection, What.STORE, rows)


async def _lock_live(connection: Connection, jobs: Sequence[str]) -> frozenset[str]:
    cursor = await connection.execute(
        "SELECT id FROM job WHERE id = ANY(%s) AND NOT state = ANY(%s) "
        "ORDER BY id FOR NO KEY UPDATE",
        (list(jobs), list(FINAL_JOB_STATES)),
    )
    return frozenset(row["id"] for row in await cursor.fetchall())
