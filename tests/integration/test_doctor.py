"""The doctor finds nothing in a healthy house, and everything that somebody broke in it."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from models import invariants
from models.accounts import set_cap
from models.batch_invariants import BATCHES
from models.budgets import deposit, set_budget
from models.database import Connection
from models.invariant import PIECES
from models.invariants import INVARIANTS, violations
from models.request import VideoRequest
from models.rows.accounts import CapPeriod
from models.rows.money import Period, Scope
from models.verbs import What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.repeats import Caller
from tests.integration.conftest import ENVIRONMENT, MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

#: What is planted, by the kind of violation that it makes; it may make others as well.
CORRUPTIONS: Mapping[str, str] = {
    "due_missing": """
        DELETE FROM due WHERE what = 'submit' AND id IN
        (SELECT id FROM attempt WHERE job = %(pending)s)""",
    "due_left_over": """
        INSERT INTO due (what, id, lane, tenant)
        SELECT 'poll', id, account, 'default' FROM attempt WHERE job = %(complete)s""",
    "watched_by_nobody": """
        UPDATE due SET at = now() + interval '9 years', lease = gen_random_uuid()
        WHERE what = 'poll' AND id = (SELECT id FROM attempt WHERE job = %(running)s)""",
    "look_up_of_known": """
        INSERT INTO due (what, id, lane, tenant)
        SELECT 'look_up', id, account, 'default' FROM attempt WHERE job = %(running)s""",
    "picture_unused": """
        INSERT INTO picture (id, tenant, sealed, bytes) VALUES ('p', 'default', 'x', 1)""",
    "picture_kept": """
        WITH made AS (INSERT INTO picture (id, tenant, sealed, bytes)
                      VALUES ('p', 'default', 'x', 1) RETURNING id)
        INSERT INTO picture_use (job, name, picture, fetched)
        SELECT %(complete)s, 'image', id, true FROM made""",
    "unknown_forgotten": """
        UPDATE attempt SET state = 'unknown', operation_id = NULL, accepted_at = NULL
        WHERE job = %(running)s""",
    "job_ending": "UPDATE job SET cost_micros = NULL WHERE id = %(complete)s",
    "job_unexplained": "UPDATE job SET error = NULL WHERE id = %(failed)s",
    "job_progress": "UPDATE job SET progress_percent = 100 WHERE id = %(running)s",
    "job_charge": "UPDATE job SET cost_micros = 1 WHERE id = %(failed)s",
    "job_overcharged": """
        UPDATE job SET cost_micros = estimated_cost_micros + 1 WHERE id = %(complete)s""",
    "job_deleted": """
        UPDATE job SET deleted_at = now(), erased_at = now() WHERE id = %(complete)s""",
    "job_ahead": """
        UPDATE attempt SET operation_id = NULL, accepted_at = NULL WHERE job = %(complete)s""",
    "events_illegal": "INSERT INTO event (job, kind) VALUES (%(complete)s, 'processing')",
    "events_end_elsewhere": """
        DELETE FROM event WHERE job = %(complete)s AND kind = 'complete'""",
    "attempt_evidence": "UPDATE attempt SET sent_at = NULL WHERE job = %(running)s",
    "attempt_operation": "UPDATE attempt SET accepted_at = NULL WHERE job = %(running)s",
    "attempt_ending": "UPDATE attempt SET finished_at = NULL WHERE job = %(complete)s",
    "attempt_unwanted": """
        INSERT INTO attempt (id, job, provider, account, route, state, marker, count)
        SELECT 'att_planted', job, provider, account, route, 'planned', 'planted', 1
        FROM attempt WHERE job = %(complete)s""",
    "planned_for_nobody": """
        UPDATE output SET state = 'failed', error = '{}' WHERE job = %(pending)s""",
    "parked_and_sent": """
        UPDATE attempt SET parked_at = now(), state = 'sent', operation_id = NULL,
                           accepted_at = NULL WHERE job = %(running)s""",
    "paid_twice": """
        INSERT INTO attempt (id, job, provider, account, route, state, marker, count,
                             sent_at, payload_hash)
        SELECT 'att_planted', job, provider, account, route, 'unknown', 'planted', 1, now(),
               payload_hash
        FROM attempt WHERE job = %(complete)s""",
    "hop_in_doubt": """
        WITH doubted AS (
            UPDATE attempt SET state = 'unknown', operation_id = NULL, accepted_at = NULL
            WHERE job = %(running)s RETURNING *)
        INSERT INTO attempt (id, job, provider, account, route, choice, state, marker, count,
                             replaces)
        SELECT 'att_planted', job, provider, account, route, 1, 'planned', 'planted', 1, id
        FROM doubted""",
    "output_unfit": "UPDATE output SET position = 5 WHERE job = %(complete)s",
    "output_orphaned": """
        UPDATE attempt SET state = 'failed', finished_at = now() WHERE job = %(running)s""",
    "output_without_video": "UPDATE output SET sha256 = NULL WHERE job = %(complete)s",
    "delivery_count": "DELETE FROM delivery WHERE job = %(complete)s",
    "delivery_untrue": """
        UPDATE delivery SET type = 'video.cancelled' WHERE job = %(complete)s""",
    "delivery_tries": "UPDATE delivery SET tries = tries + 1 WHERE job = %(complete)s",
    "delivery_ending": "UPDATE delivery SET finished_at = NULL WHERE job = %(complete)s",
    "usage_untrue": "DELETE FROM job_usage WHERE job = %(complete)s",
    "ledger_unbalanced": """
        INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant)
        VALUES ('planted', 'tenant:available', 1, 'default')""",
    "ledger_of_job": """
        INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant, job, counts_at)
        SELECT 'absorb ' || id, side.account, side.amount, tenant, id, created_at FROM job,
        (VALUES ('tenant:reserved', 1), ('tenant:available', -1)) AS side (account, amount)
        WHERE id = %(complete)s""",
    "ledger_misnamed": """
        INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant, job, counts_at)
        SELECT 'planted', side.account, side.amount, tenant, id, created_at FROM job,
        (VALUES ('tenant:reserved', 1), ('tenant:available', -1)) AS side (account, amount)
        WHERE id = %(complete)s""",
    "removal_of_kept": """
        INSERT INTO removal (key) SELECT key FROM output WHERE job = %(complete)s""",
    "attempt_not_absorbed": "UPDATE attempt SET cost_micros = 7 WHERE job = %(failed)s",
    "overrun_not_absorbed": "UPDATE attempt SET cost_micros = 10^9 WHERE job = %(complete)s",
    "budget_miscounted": "UPDATE budget_use SET spent_micros = spent_micros - 1",
    "budget_exceeded": "UPDATE budget SET limit_micros = 1 WHERE period = 'day'",
    "gate_limit_untrue": """
        INSERT INTO gate (id, tenant, name, strategy, routing, spending_limit_micros)
        VALUES ('gate_planted', 'default', 'planted', 'single', '{}', 1)""",
    "account_cap_exceeded": "UPDATE account_rule SET cap_micros = 1",
    "deposits_untrue": """
        UPDATE budget SET limit_micros = limit_micros + 1 WHERE period = 'prepaid'""",
    "key_of_another": """
        WITH another AS (INSERT INTO tenant (id) VALUES ('another') RETURNING id)
        INSERT INTO idempotency (tenant, key, body_hash, job, response)
        SELECT another.id, 'planted', '', %(complete)s, '' FROM another""",
}

#: More of the same kinds: what has rules of its own about videos that ended without being stored.
MORE_CORRUPTIONS: Sequence[tuple[str, str]] = (
    ("due_missing", "UPDATE due SET what = 'prepare' WHERE what = 'submit'"),
    (
        "due_left_over",
        """
        INSERT INTO due (what, id, lane, tenant)
        SELECT 'prepare', id, 'default', 'default' FROM attempt WHERE job = %(running)s""",
    ),
    (
        "picture_unused",
        """
        WITH other AS (INSERT INTO tenant (id) VALUES ('other') RETURNING id),
             made AS (INSERT INTO picture (id, tenant, sealed, bytes)
                      SELECT 'p', id, 'x', 1 FROM other RETURNING id)
        INSERT INTO picture_use (job, name, picture, fetched)
        SELECT %(running)s, 'image', id, false FROM made""",
    ),
    (
        "picture_kept",
        """
        WITH made AS (INSERT INTO picture (id, tenant, sealed, bytes)
                      VALUES ('p', 'default', 'x', 1) RETURNING id),
             used AS (INSERT INTO picture_use (job, name, picture, fetched)
                      SELECT %(complete)s, 'image', id, false FROM made)
        UPDATE job SET deleted_at = now(), erased_at = now() WHERE id = %(complete)s""",
    ),
    ("due_missing", "UPDATE output SET recovery_asked_at = now() WHERE job = %(failed)s"),
    (
        "due_left_over",
        """
        INSERT INTO due (what, id, lane, tenant)
        SELECT 'unheard', id, '-', tenant FROM job WHERE id = %(complete)s""",
    ),
    (
        "due_left_over",
        """
        INSERT INTO due (what, id, lane, tenant)
        SELECT 'store', id, 'runway', 'default' FROM output WHERE job = %(complete)s""",
    ),
    ("job_overcharged", "UPDATE job SET reserved_micros = 1 WHERE id = %(complete)s"),
    ("ledger_of_job", "UPDATE job SET reserved_micros = 1 WHERE id = %(running)s"),
    ("usage_untrue", "UPDATE job_usage SET took_seconds = 1 WHERE job = %(complete)s"),
    (
        "usage_untrue",
        """
        INSERT INTO job_usage (tenant, created_at, job, state, cost_micros, videos, video_seconds)
        SELECT tenant, created_at, id, 'failed', 0, 0, 0 FROM job WHERE id = %(running)s""",
    ),
    ("budget_miscounted", "UPDATE budget_use SET reserved_micros = reserved_micros + 1"),
    ("due_missing", "UPDATE job SET deleted_at = now() WHERE id = %(complete)s"),
    ("job_deleted", "UPDATE job SET deleted_at = now() WHERE id = %(running)s"),
    (
        "job_deleted",
        """
        UPDATE job SET deleted_at = now(), erased_at = now(), prompt = '', request = '{}',
                       webhook = NULL WHERE id = %(complete)s""",
    ),
    (
        "due_left_over",
        "INSERT INTO due (what, id, lane, tenant) VALUES ('erase', %(failed)s, '-', 'default')",
    ),
    ("job_charge", "UPDATE output SET recovered_at = now() WHERE job = %(complete)s"),
    ("output_unfit", "UPDATE output SET recovered_at = now() WHERE job = %(complete)s"),
    ("output_without_video", "UPDATE output SET key = NULL WHERE job = %(complete)s"),
    ("output_without_video", "UPDATE output SET deleted_at = now() WHERE job = %(complete)s"),
    ("output_without_video", "UPDATE output SET source = 'x' WHERE job = %(complete)s"),
    ("output_without_video", "UPDATE output SET recovered_at = now() WHERE job = %(failed)s"),
    ("output_without_video", "UPDATE output SET recovery_asked_at = now() WHERE job = %(running)s"),
)


#: Pieces of one row each.
SMALLEST = {
    over: replace(pieces, next=re.sub(r"LIMIT \d+", "LIMIT 1", pieces.next))
    for over, pieces in PIECES.items()
}


@dataclass(frozen=True, slots=True)
class House:
    """A database with a job in each kind of state, by the state's name."""

    engine: Engine
    jobs: Mapping[str, str]

    async def find(self) -> set[str]:
        """The kinds of what is found, read as a whole and in the smallest pieces alike."""
        found = await self.engine.database.run(violations)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(invariants, "PIECES", SMALLEST)
            assert await self.engine.database.run(violations) == found
        return {each.kind for each in found}

    async def plant(self, kind: str, sql: str | None = None) -> None:
        async def work(connection: Connection) -> None:
            # The ids that this corruption does not name are given in vain.
            cursor = await connection.execute(sql or CORRUPTIONS[kind], dict(self.jobs))
            assert cursor.rowcount > 0, f"{kind} was not planted"

        await self.engine.database.run(work)


async def _best(request: Request) -> Response:
    answer = next(iter(answers_to(request, hash(request.content)).values()))
    assert isinstance(answer, Response)
    return answer


async def _failing(request: Request) -> Response:
    answer = (
        answers_to(request, 0)["failed"] if kind_of(request) == "poll" else await _best(request)
    )
    assert isinstance(answer, Response)
    return answer


@pytest.fixture
async def house(make_engine: MakeEngine) -> AsyncIterator[House]:
    engine = make_engine()
    await engine.database.run(_limited)
    jobs: dict[str, str] = {}
    life = (What.SUBMIT, What.POLL, What.STORE, What.DELIVER)
    for name, reply, verbs in (
        ("complete", _best, life),
        ("failed", _failing, life),
        ("running", _best, (What.SUBMIT,)),
        ("pending", _best, ()),
    ):
        jobs[name] = await _accepted(engine, name)
        for what in verbs:
            await _do(facing(engine, FarSide(reply)), what)
    yield House(engine, jobs)
    await engine.close()


async def _limited(connection: Connection) -> None:
    """The tenant is prepaid and has a budget, its account a cap: each has room for every job."""
    await set_cap(connection, "runway", micros=100_000_000, period=CapPeriod.DAY)
    await deposit(connection, "default", 100_000_000, id_="dep_1")
    await set_budget(
        connection,
        "default",
        scope=Scope.TENANT,
        subject="default",
        period=Period.DAY,
        limit_micros=100_000_000,
    )


async def _accepted(engine: Engine, name: str) -> str:
    body: dict[str, Any] = {"prompt": name, "webhook_url": "http://127.0.0.1/hook"}
    caller = Caller(idempotency_key=name)
    request = VideoRequest.from_json(body)
    return (await accept(engine, request, tenant="default", caller=caller)).job_id


async def _do(engine: Engine, what: What) -> None:
    """All that is due of a kind, now."""
    await engine.database.fetch(
        "UPDATE due SET at = now() - interval '1 s' WHERE what = %s", (what,)
    )
    await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


def test_every_invariant_has_a_corruption() -> None:
    of_batches = {invariant.kind for invariant in BATCHES}  # see test_doctor_batches.py
    assert set(CORRUPTIONS) == {invariant.kind for invariant in INVARIANTS} - of_batches


async def test_nothing_is_found_where_nothing_is_broken(house: House) -> None:
    assert await house.find() == set()


@pytest.mark.parametrize("kind", CORRUPTIONS)
async def test_a_planted_corruption_is_found(house: House, kind: str) -> None:
    # Given a healthy database
    assert await house.find() == set()

    # When somebody breaks this in it
    await house.plant(kind)

    # Then it is found
    assert kind in await house.find()


@pytest.mark.parametrize(("kind", "sql"), MORE_CORRUPTIONS)
async def test_another_corruption_of_the_same_kind_is_found(
    house: House, kind: str, sql: str
) -> None:
    await house.plant(kind, sql)
    assert kind in await house.find()


async def test_a_failed_video_may_keep_its_link_and_a_row_that_removes_its_traces(
    house: House,
) -> None:
    await house.plant("", "UPDATE output SET source = 'x' WHERE job = %(failed)s")
    await house.plant(
        "",
        """
        INSERT INTO due (what, id, lane, tenant)
        SELECT 'store', id, 'runway', 'default' FROM output WHERE job = %(failed)s""",
    )
    assert await house.find() == set()


async def test_the_command_says_what_is_wrong_and_exits_with_1(
    house: House, database_url: str, tmp_path: Path
) -> None:
    healthy = _doctor(database_url, tmp_path)
    await house.plant("due_missing")
    ill = _doctor(database_url, tmp_path)

    assert (healthy.returncode, ill.returncode) == (0, 1), healthy.stderr + ill.stderr
    assert json.loads(healthy.stdout) == []
    assert [found["kind"] for found in json.loads(ill.stdout)] == ["due_missing"]


async def test_the_command_warns_of_what_is_parked_and_exits_with_0(
    house: House, database_url: str, tmp_path: Path
) -> None:
    await house.engine.database.fetch("UPDATE due SET faults = 7 WHERE what = 'submit'")
    warned = _doctor(database_url, tmp_path)

    assert warned.returncode == 0, warned.stderr
    assert json.loads(warned.stdout) == []
    (row,) = await house.engine.database.fetch("SELECT id FROM due WHERE what = 'submit'")
    assert f"submit of {row['id']} is put off" in " ".join(warned.stderr.split())


async def test_the_command_tells_what_waits_for_an_account(
    house: House, database_url: str, tmp_path: Path
) -> None:
    await house.engine.database.fetch(
        "UPDATE attempt SET waits_for = 'paused', waits_since = now() WHERE state = 'planned'"
    )
    told = _doctor(database_url, tmp_path)

    assert told.returncode == 0, told.stderr
    assert "1 attempt(s) wait for runway, which is paused" in " ".join(told.stderr.split())


def _doctor(database_url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    ours = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(folder)}
    return subprocess.run(
        [Path(sys.executable).with_name("longtake"), "doctor", "--json"],
        check=False,
        env=ENVIRONMENT | ours,
        capture_output=True,
        text=True,
        timeout=60,
    )
