"""Clients that send again, in any order and whatever becomes of their answers: one job for each."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from models.failure import RequestRefused
from models.ids import new_id
from models.invariants import violations
from models.limits import set_limits
from models.request import VideoRequest
from models.rows.limits import Holder
from tasks.engine import Engine
from tasks.intake import accept
from tasks.repeats import Caller
from tasks.resent import WINDOW_SECONDS, Outcome, Unkeyed, fingerprint, record
from tasks.upkeep.retention import prune_once
from tests.integration.conftest import MakeEngine

pytestmark = pytest.mark.anyio

REQUEST = VideoRequest.from_json({"prompt": "a fox"})
#: What becomes of the answer to an accepted request, as the client sees it.
ANSWERED, LOST, DIED = "answered", "lost", "died"
#: Its answer was written, and lost on the way.
VANISHED = "vanished"
#: It is refused with 429.
REFUSED = "refused"


@dataclass(slots=True)
class Client:
    """Sends the same until it has an answer; `counts` if it says how often it has sent it."""

    counts: bool
    #: What becomes of its requests, one after the other; the last is answered.
    fates: list[str]
    sent: int = 0
    #: The job that it was answered with.
    job: str | None = None


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = make_engine()
    # What takes up the only place where a limit is set for a moment.
    await accept(engine, REQUEST, tenant="default")
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def _stays() -> bool:
    return False


async def _has_gone() -> bool:
    return True


async def _send(engine: Engine, client: Client, mark: bytes) -> None:
    fate, retries = client.fates.pop(0), client.sent if client.counts else None
    client.sent += 1
    own = Unkeyed(id=new_id("sub"), fingerprint=mark, retries=retries, is_gone=_stays)
    if fate == REFUSED:
        await _limit(engine, 1)
    try:
        job = (await accept(engine, REQUEST, tenant="default", caller=Caller(unkeyed=own))).job_id
        status = 202
    except RequestRefused:
        status, job = 429, None
    if fate == REFUSED:
        await _limit(engine, None)
    if fate == DIED and job:
        sql = "UPDATE submission SET at = at - interval '1 minute' WHERE id = %s"
        await engine.database.fetch(sql, (own.id,))
        return
    told = Outcome(
        id=own.id, fingerprint=mark, retries=retries, is_written=fate != LOST, status=status
    )
    await record(engine, [told])
    if fate == ANSWERED or (fate == REFUSED and job):  # a repeat meets no limit
        client.job, client.fates = job, []


async def _limit(engine: Engine, concurrent: int | None) -> None:
    changes = {"concurrent": concurrent}
    await engine.database.run(
        lambda connection: set_limits(connection, Holder.TENANT, "default", changes=changes)
    )


async def _jobs(engine: Engine) -> int:
    (row,) = await engine.database.fetch("SELECT count(*) FROM job")
    return int(row["count"]) - 1  # but the one that takes up the place


def _clients(dice: random.Random, fates: Sequence[str], *, counts: bool) -> list[Client]:
    return [
        Client(counts, [*dice.choices(fates, k=dice.randint(0, 4)), ANSWERED])
        for _ in range(dice.randint(1, 5))
    ]


async def _in_any_order(
    engine: Engine, dice: random.Random, clients: Sequence[Client], mark: bytes
) -> None:
    while waiting := [each for each in clients if each.fates]:
        await _send(engine, dice.choice(waiting), mark)


async def test_clients_without_a_mark_get_one_job_each_in_any_order(engine: Engine) -> None:
    for seed in range(40):
        dice, before = random.Random(seed), await _jobs(engine)
        clients = _clients(dice, (LOST, DIED, REFUSED), counts=False)
        await _in_any_order(engine, dice, clients, fingerprint(str(seed)))

        assert len({each.job for each in clients}) == len(clients), seed
        assert await _jobs(engine) - before == len(clients), seed


async def test_clients_that_count_never_get_more_jobs_than_they_are(engine: Engine) -> None:
    for seed in range(40):
        dice, before = random.Random(seed), await _jobs(engine)
        clients = _clients(dice, (LOST, DIED, REFUSED, VANISHED), counts=True)
        await _in_any_order(engine, dice, clients, fingerprint(str(seed)))

        assert all(each.job for each in clients), seed
        assert 1 <= await _jobs(engine) - before <= len(clients), seed


async def test_clients_that_send_at_once_get_one_job_each(engine: Engine) -> None:
    for seed in range(15):
        dice, before = random.Random(seed), await _jobs(engine)
        clients, mark = _clients(dice, (LOST,), counts=False), fingerprint(str(seed))

        async def send(client: Client, mark: bytes = mark) -> None:
            while client.fates:
                await _send(engine, client, mark)

        await asyncio.gather(*(send(each) for each in clients))

        assert len({each.job for each in clients}) == len(clients), seed
        assert await _jobs(engine) - before == len(clients), seed


async def test_a_commit_that_was_not_confirmed_is_known_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is then run once more, and finds its own submission, open."""
    run, mark = engine.database.run, fingerprint("commit")
    own = Unkeyed(id=new_id("sub"), fingerprint=mark, is_gone=_stays)
    views: list[str] = []

    async def twice(work: Any) -> Any:
        for _ in range(2):
            accepted = await run(work)
            views.append(accepted.job_id)
        return accepted

    monkeypatch.setattr(engine.database, "run", twice)
    await accept(engine, REQUEST, tenant="default", caller=Caller(unkeyed=own))
    monkeypatch.undo()

    assert len(set(views)) == 1
    assert await _jobs(engine) == 1


@pytest.mark.parametrize(("is_gone", "jobs"), [(_has_gone, 1), (_stays, 2)])
async def test_one_that_is_accepted_while_another_waits_is_taken_if_its_client_has_gone(
    engine: Engine, is_gone: Callable[[], Awaitable[bool]], jobs: int
) -> None:
    mark, before = fingerprint("gone"), time.monotonic() - 1
    first = Unkeyed(id=new_id("sub"), fingerprint=mark, is_gone=is_gone)
    # It arrived before the first was accepted: what is open then is no answer that it missed.
    second = Unkeyed(id=new_id("sub"), fingerprint=mark, is_gone=_stays, arrived=before)

    for own in (first, second):
        await accept(engine, REQUEST, tenant="default", caller=Caller(unkeyed=own))

    assert await _jobs(engine) == jobs


async def test_a_retry_that_met_our_own_error_makes_no_room_for_a_second_job(
    engine: Engine,
) -> None:
    mark = fingerprint("error")
    client = Client(counts=True, fates=[VANISHED, ANSWERED])
    await _send(engine, client, mark)
    error = Outcome(id="sub_1", fingerprint=mark, retries=1, is_written=True, status=503)
    await record(engine, [error])
    client.sent = 2
    await _send(engine, client, mark)

    assert await _jobs(engine) == 1


async def test_old_submissions_are_deleted_and_young_ones_are_not(engine: Engine) -> None:
    for mark in (b"old", b"young"):
        await _send(engine, Client(counts=False, fates=[ANSWERED]), mark)
    sql = "UPDATE submission SET at = at - %s * interval '1 second' WHERE fingerprint = %s"
    await engine.database.fetch(sql, (3 * WINDOW_SECONDS, b"old"))

    assert (await prune_once(engine)).submissions == 1
    rows = await engine.database.fetch("SELECT fingerprint FROM submission")
    assert [bytes(row["fingerprint"]) for row in rows] == [b"young"]
