"""Attempts that end without an operation: refused by the provider, or impossible to send."""

from collections.abc import Mapping

from models import due
from models.advance import advance_attempts, fail_outputs
from models.database import Connection
from models.failure import Failure
from models.locks import lock_whole_of
from models.state import AttemptState
from models.verbs import What
from tasks.engine import Engine
from tasks.outcomes.finish import settle
from tasks.outcomes.give_back import give_back
from tasks.outcomes.hop import hop


async def record_unsendable(engine: Engine, attempt: str, failure: Failure, *, lease: str) -> None:
    """End a planned attempt that can never be sent, and settle its job.

    Writes only while the caller holds its due row: another worker may have sent it since.
    """

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [attempt])
        if await due.hold(connection, What.SUBMIT, [attempt], lease=lease):
            await end_unsendable(engine, connection, {attempt: failure})

    await engine.database.run(work)


async def end_unsendable(
    engine: Engine, connection: Connection, failures: Mapping[str, Failure]
) -> None:
    """End planned attempts whose due rows are held and jobs are locked, and settle their jobs."""
    moved = await advance_attempts(
        connection, AttemptState.FAILED, sorted(failures), failures=failures
    )
    left = {row["id"]: failures[row["id"]] for row in moved}
    await due.drop_unsent(connection, sorted(left))
    await fail_outputs(connection, left, of="attempt")
    await settle(engine, connection, [row["job"] for row in moved])


async def record_refused(engine: Engine, attempt: str, failure: Failure) -> None:
    """End an attempt that the provider provably refused.

    Its videos go back to an operation that came to light, or its gate moves on, or its job settles.
    """

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [attempt])
        moved = await advance_attempts(
            connection, AttemptState.REFUSED, [attempt], failures={attempt: failure}
        )
        # An attempt that a restore has set back does not move, and keeps its due row.
        await due.drop(connection, What.SUBMIT, [row["id"] for row in moved])
        await due.drop(connection, What.LOOK_UP, [row["id"] for row in moved])
        given_back = await give_back(engine, connection, [row["id"] for row in moved])
        left = {row["id"]: failure for row in moved if row["id"] not in given_back}
        hopped = await hop(connection, left)
        left = {id_: each for id_, each in left.items() if id_ not in hopped}
        await fail_outputs(connection, left, of="attempt")
        await settle(engine, connection, [row["job"] for row in moved])

    await engine.database.run(work)
