"""The mark outside of PostgreSQL: never a false alarm, and what is done about a true one."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from models import high_water
from models.gate import GateRequest
from models.invariants import violations
from models.migrate import upgrade
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from stack.servers.postgres import EmbeddedPostgres
from storage import marks
from storage.base import Storage, Unavailable
from storage.marks import Mark, Name
from tasks import gates
from tasks.callbacks import hear
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.outcomes.sent import fingerprint
from tasks.outcomes.unknown import mark_unknown
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.restore import clearing as restore
from tasks.restore import parked
from tasks.restore.clearing import accept_database, tend
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said
from transport.base import Request, Response, Unanswered

pytestmark = pytest.mark.anyio

KLING = {"KLING_API_KEY": "kling-for-tests", "KLING_BASE_URL": "http://127.0.0.1:9"}


@dataclass(slots=True)
class Vendor:
    """Takes every POST; knows the tasks of these external ids beside those that it took."""

    known: dict[str, str] = field(default_factory=dict)
    answers: bool = True

    async def reply(self, request: Request) -> Response:
        if request.method == "POST" and not self.answers:
            raise Unanswered
        if request.method == "POST":
            body = json.loads(request.content or b"{}")
            marker = body.get("options", {}).get("external_task_id") or f"m-{len(self.known)}"
            self.known[marker] = f"op-{len(self.known)}"
            task = {"id": self.known[marker], "status": "processing", "external_id": marker}
            return said(200, {"code": 0, "data": task, "id": task["id"]})
        marker = request.url.partition("external_task_ids=")[2]
        if marker not in self.known:
            return said(200, {"code": 0, "data": []})
        task = {"id": self.known[marker], "status": "processing", "external_id": marker}
        return said(200, {"code": 0, "data": [task]})


class Broken:
    """A storage of which some calls fail."""

    def __init__(self, storage: Storage, *calls: str) -> None:
        self.storage, self.calls = storage, calls

    def __getattr__(self, name: str) -> Any:
        async def fails(*_: Any) -> None:
            msg = "the video store failed (test)"
            raise Unavailable(msg)

        return fails if name in self.calls else getattr(self.storage, name)


@dataclass(frozen=True, slots=True)
class House:
    """A database and a storage, on which processes are started."""

    make: MakeEngine
    vendor: Vendor = field(default_factory=Vendor)
    engines: list[Engine] = field(default_factory=list)
    far: list[FarSide] = field(default_factory=list)

    def start(self, **environment: Any) -> Engine:
        """A process: it remembers nothing."""
        far = FarSide(self.vendor.reply)
        engine = facing(self.make(**KLING, **environment), far)
        self.engines.append(engine)
        self.far.append(far)
        return engine

    def posts(self) -> int:
        return sum(far.posts() for far in self.far)

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()


@pytest.fixture
async def house(make_engine: MakeEngine) -> AsyncIterator[House]:
    house = House(make_engine)
    yield house
    assert await house.start().database.run(violations) == []
    await house.close()


async def ask(engine: Engine, model: str = "gen4.5", **fields: Any) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": model, **fields})
    return (await accept(engine, request, tenant="default")).job_id


async def send(engine: Engine, lane: str = "runway", *, at_once: bool = True) -> None:
    """A pump's run; what is due within the day is due now."""
    if at_once:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s' "
            "WHERE what = 'submit' AND at < now() + interval '1 day'"
        )
    await Pump(verb_for(What.SUBMIT, engine), engine.database, lane, seconds=0.2).run()


async def row_of(engine: Engine) -> high_water.Row:
    return await engine.database.run(high_water.read)


async def only(engine: Engine) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM attempt")
    return row


async def only_job(engine: Engine) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM job")
    return row


def told_of(engine: Engine, *, at: datetime) -> dict[str, dict[str, str]]:
    """The credentials of an engine as a mark tells of them."""
    return {
        name: {fingerprint(account).hex(): at.astimezone(UTC).isoformat()}
        for name, account in engine.accounts.items()
    }


async def set_ahead(engine: Engine, **fields: Any) -> None:
    """Store the mark that a later time of this database would have left."""
    row = await row_of(engine)
    base: dict[str, Any] = {"generation": row.generation + 5, "nonce": "abc"}
    base["written_at"] = row.now
    base["accounts"] = told_of(engine, at=row.now)
    await marks.write(engine.storage, Mark(installation=row.installation, **(base | fields)))


async def parked_ids(engine: Engine) -> list[str]:
    return [one.id for one in await engine.database.run(parked.parked)]


# -- no false alarms ------------------------------------------------------------------------------


async def test_a_fresh_installation_sends_and_leaves_a_mark(house: House) -> None:
    engine = house.start()
    await ask(engine)
    await send(engine)
    assert house.posts() == 1

    await tend(engine)

    row = await row_of(engine)
    (name,) = await marks.names(engine.storage, row.installation)
    mark = await marks.read(engine.storage, row.installation, name)
    assert mark is not None
    assert (mark.generation, mark.nonce, row.stored) == (row.generation, row.nonce, row.generation)
    assert mark.attempt == (await only(engine))["id"]
    assert (mark.system or "").isdigit()
    assert mark.timeline == 1
    assert engine.clearance.sent == {}


async def test_restarts_and_idle_times_raise_no_alarm(house: House) -> None:
    for number in range(1, 4):
        engine = house.start()
        await ask(engine)
        await send(engine)
        await tend(engine)
        assert house.posts() == number
    assert (await row_of(engine)).restored_at is None


async def test_a_mark_is_written_when_something_was_sent_or_after_a_while(house: House) -> None:
    engine = house.start()
    assert await tend(engine) == "generation=1"
    assert await tend(engine) == "fresh"
    assert await tend(engine, idle=0) == "generation=2"
    await ask(engine)
    await send(engine)
    assert await tend(engine) == "generation=3"


async def test_many_writers_at_once_raise_no_alarm(house: House) -> None:
    engines = [house.start() for _ in range(4)]
    for _ in range(5):
        await asyncio.gather(*(tend(engine, idle=0) for engine in engines))
    row = await row_of(engines[0])
    assert row.restored_at is None
    names = await marks.names(engines[0].storage, row.installation)
    assert names[-1] <= Name(row.generation, row.nonce)

    await ask(engines[0])
    await send(house.start())
    assert house.posts() == 1


async def test_a_death_between_the_row_and_the_mark_raises_no_alarm(house: House) -> None:
    engine = house.start()
    await tend(engine)
    dies = replace(engine, storage=Broken(engine.storage, "put_note"))
    assert await tend(dies, idle=0) == "failed"
    assert (await row_of(engine)).generation == 2

    after = house.start()
    await ask(after)
    await send(after)

    assert house.posts() == 1
    assert await tend(after) == "generation=3"
    assert (await row_of(after)).restored_at is None


async def test_a_late_writer_never_lowers_the_mark(house: House) -> None:
    engine = house.start()
    for _ in range(3):
        await tend(engine, idle=0)
    row = await row_of(engine)

    late = Mark(installation=row.installation, generation=1, nonce="dd", written_at=row.now)
    await marks.write(engine.storage, late)

    names = await marks.names(engine.storage, row.installation)
    assert names[-1] == Name(3, row.nonce)
    assert await tend(house.start(), idle=0) == "generation=4"
    assert (await row_of(engine)).restored_at is None


async def test_a_lost_storage_is_told_loudly_and_parks_nothing(
    house: House, tmp_path: Path
) -> None:
    engine = house.start()
    await tend(engine)
    await ask(engine)

    other = house.start(LONGTAKE_STORAGE_URL=(tmp_path / "new").as_uri())
    with capture_logs() as logs:
        await send(other)

    assert [one["log_level"] for one in logs if one["event"] == "restore.mark_missing"] == ["error"]
    assert house.posts() == 1
    assert await parked_ids(other) == []


async def test_a_server_that_restarts_is_compared_again_and_then_sent_from(
    make_engine: MakeEngine, data_dir: Path
) -> None:
    # Given a process that was cleared, on a server of its own
    server = EmbeddedPostgres(data_dir)
    server.start()
    upgrade(server.url())
    house = House(make_engine)
    engine = house.start(LONGTAKE_DATABASE_URL=server.url())
    await ask(engine)
    await send(engine)
    await tend(engine)
    cleared_for = engine.clearance.database

    # When the server restarts, and there is more to send
    server.stop()
    server.start()
    await ask(engine)
    await send(engine)
    await send(engine)

    # Then it is sent, after another comparison that found nothing
    assert house.posts() == 2
    assert engine.clearance.database != cleared_for
    assert (await row_of(engine)).restored_at is None
    await house.close()


# -- when there is no telling ---------------------------------------------------------------------


async def test_nothing_is_sent_while_the_storage_is_away_and_all_is_afterwards(
    house: House,
) -> None:
    engine = house.start()
    await ask(engine)
    away = replace(engine, storage=Broken(engine.storage, "notes"))
    with capture_logs() as logs:
        await send(away)
        await send(away)

    assert house.posts() == 0
    # Told once, not for each row and try; and the attempt is as it was.
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["restore.not_compared"]
    attempt = await only(engine)
    assert (attempt["state"], attempt["rejections"]) == ("planned", 0)

    engine.clearance.pause(0)
    await send(engine)
    assert house.posts() == 1


async def test_a_new_timeline_is_given_time_to_show_what_it_lacks(house: House) -> None:
    engine = house.start()
    await tend(engine)
    row = await row_of(engine)
    (name,) = await marks.names(engine.storage, row.installation)
    mark = await marks.read(engine.storage, row.installation, name)
    assert mark is not None
    await marks.write(engine.storage, replace(mark, timeline=7))

    promoted = house.start()
    await ask(promoted)
    await send(promoted)
    assert house.posts() == 0

    assert promoted.clearance.watch is not None
    server, _ = promoted.clearance.watch
    promoted.clearance.watch = (server, 0.0)
    promoted.clearance.pause(0)
    await send(promoted)
    assert house.posts() == 1
    assert (await row_of(promoted)).restored_at is None


# -- noticed --------------------------------------------------------------------------------------


async def test_what_was_planned_before_the_mark_is_parked_and_nothing_else(house: House) -> None:
    # Given a job from before the mark, one that is scheduled for long after it, and a later one
    engine = house.start()
    old = await ask(engine)
    soon = datetime.now(UTC) + timedelta(hours=2)
    scheduled = await ask(engine, run_at=soon.isoformat())
    await set_ahead(engine)
    new = await ask(engine)

    # When a process starts
    after = house.start()
    with capture_logs() as logs:
        await send(after, at_once=False)
        await after.database.fetch(
            "UPDATE due SET at = now() FROM attempt WHERE attempt.job = %s AND due.id = attempt.id",
            (new,),
        )
        await send(after, at_once=False)

    # Then the old one is parked and told of, the later one is sent, and the third one waits
    assert [one["parked"] for one in logs if one["event"] == "restore.noticed"] == [1]
    states = await after.database.fetch(
        "SELECT job.id, job.state, attempt.parked_at IS NOT NULL AS parked, "
        "due.at > now() + interval '9 years' AS far "
        "FROM job JOIN attempt ON attempt.job = job.id "
        "LEFT JOIN due ON due.id = attempt.id AND due.what = 'submit'"
    )
    assert {row["id"]: (row["state"], row["parked"], row["far"]) for row in states} == {
        old: ("pending", True, True),
        scheduled: ("pending", False, False),
        new: ("processing", False, None),
    }
    assert (await row_of(after)).restored_at is not None
    told = await after.database.fetch("SELECT job FROM event WHERE kind = 'attempt.parked'")
    assert [row["job"] for row in told] == [old]
    # And the next mark is ahead of the one that was found.
    assert await tend(after, idle=0) == "generation=7"


async def test_many_processes_notice_a_restore_once(house: House) -> None:
    engine = house.start()
    for _ in range(3):
        await ask(engine)
    await set_ahead(engine)
    with capture_logs() as logs:
        await asyncio.gather(*(send(house.start()) for _ in range(3)))
    assert sum(one.get("parked", 0) for one in logs if one["event"] == "restore.noticed") == 3
    assert house.posts() == 0
    assert len(await parked_ids(engine)) == 3


async def test_two_copies_that_both_went_on_are_told_apart(house: House) -> None:
    engine = house.start()
    await tend(engine)
    await ask(engine)
    row = await row_of(engine)
    await set_ahead(engine, generation=row.generation, nonce="fff")

    await send(house.start())

    assert house.posts() == 0
    assert len(await parked_ids(engine)) == 1


async def test_a_process_that_runs_on_a_database_that_was_set_back_stops_sending(
    house: House,
) -> None:
    # Given a process that has been cleared at generation 3
    engine = house.start()
    await ask(engine)
    for _ in range(3):
        await tend(engine, idle=0)

    # When the rows are set back under it, the tables and the server being the same
    await engine.database.fetch("UPDATE high_water SET generation = 1, nonce = 'a', stored = 1")
    await send(engine)
    await send(engine)

    # Then the commit of `sent` itself has shown it
    assert house.posts() == 0
    assert len(await parked_ids(engine)) == 1


# -- parked ---------------------------------------------------------------------------------------


@pytest.fixture
async def restored(house: House) -> Engine:
    """A process on a database that was restored, with one attempt parked."""
    engine = house.start()
    await ask(engine)
    await set_ahead(engine)
    await tend(engine)
    assert len(await parked_ids(engine)) == 1
    return engine


async def test_a_released_attempt_is_sent_once(restored: Engine, house: House) -> None:
    (found,) = await restored.database.run(parked.parked)
    assert found.at_risk_micros == (await only_job(restored))["estimated_cost_micros"]
    assert not found.is_looked_up

    for _ in range(2):
        await restored.database.run(lambda connection: parked.release(connection, [found.id]))
        await send(restored)

    assert house.posts() == 1
    assert (await only_job(restored))["state"] == "processing"


async def test_a_settled_attempt_is_adopted_and_not_sent(restored: Engine, house: House) -> None:
    (id_,) = await parked_ids(restored)
    await parked.settle(restored, id_, "op-found")
    await send(restored)

    attempt = await only(restored)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "op-found")
    assert attempt["sent_at"] == attempt["parked_at"]
    assert (await only_job(restored))["state"] == "processing"
    assert house.posts() == 0


async def test_a_failed_attempt_ends_its_job_as_maybe_paid(restored: Engine, house: House) -> None:
    ids = await parked_ids(restored)
    await restored.database.run(lambda connection: parked.fail(restored, connection, ids))

    job = await only_job(restored)
    assert (job["state"], job["error"]["code"]) == ("failed", "submit_unknown")
    assert "restored" in job["error"]["message"]
    assert await parked_ids(restored) == []


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_a_parked_job_still_ends(restored: Engine, end: str) -> None:
    job = (await only_job(restored))["id"]
    if end == "cancel":
        await restored.database.run(
            lambda connection: finish(restored, connection, JobState.CANCELLED, [job])
        )
    else:
        await restored.database.fetch("UPDATE job SET deadline_at = now()")
        await restored.database.fetch("UPDATE due SET at = now() WHERE what = 'expire'")
        await Pump(verb_for(What.EXPIRE, restored), restored.database, None, seconds=0.1).run()

    assert (await only_job(restored))["state"] == ("cancelled" if end == "cancel" else "failed")
    assert await restored.database.fetch("SELECT 1 FROM due WHERE what = 'submit'") == []


async def test_the_restore_is_over_when_the_operator_says_so(restored: Engine) -> None:
    ids = await parked_ids(restored)
    await restored.database.run(lambda connection: parked.release(connection, ids))
    before = await row_of(restored)
    assert before.restored_at is not None

    await accept_database(restored)

    after = await row_of(restored)
    assert after.restored_at is None
    assert after.stored == after.generation > before.generation


# -- looked up ------------------------------------------------------------------------------------


async def test_what_the_vendor_does_not_know_twice_is_released_and_sent(house: House) -> None:
    engine = house.start()
    await ask(engine, "kling-3.0")
    await set_ahead(engine)
    for _ in range(2):  # looked up at once, but nothing that was on its way has arrived for sure
        await send(engine, "kling")
    assert (await only(engine))["parked_looks"] == 0

    await engine.database.fetch("UPDATE attempt SET parked_at = now() - interval '1 h'")
    await send(engine, "kling")
    assert (await only(engine))["parked_looks"] == 1
    assert house.posts() == 0

    await send(engine, "kling")
    await send(engine, "kling")
    attempt = await only(engine)
    assert (attempt["state"], attempt["parked_at"], house.posts()) == ("accepted", None, 1)


async def test_what_another_model_may_have_made_is_left_to_the_operator(house: House) -> None:
    """A gate may have moved on since the backup: the first model's absence proves nothing."""
    engine = house.start()
    gate = {"name": "shop", "model": "kling-3.0", "strategy": "fallback"}
    wanted = GateRequest.from_json(gate | {"fallback_models": ["gen4.5"]})
    await gates.create(engine, wanted, tenant="default")
    await ask(engine, "kling-3.0", gate="shop")
    await set_ahead(engine)
    await send(engine, "kling")
    await engine.database.fetch("UPDATE attempt SET parked_at = now() - interval '1 h'")
    for _ in range(4):
        await send(engine, "kling")

    attempt = await only(engine)
    assert (attempt["state"], attempt["parked_looks"], house.posts()) == ("planned", 0, 0)
    await engine.database.run(lambda connection: parked.release(connection, [attempt["id"]]))
    await send(engine, "kling")
    assert house.posts() == 1


@pytest.mark.parametrize("is_gone", [False, True])
async def test_what_may_have_moved_to_another_account_is_left_to_the_operator(
    house: House, *, is_gone: bool
) -> None:
    """It may have been sent by the other since the backup, which this process may not have."""
    team = {"KLING_API_KEY__TEAM": "key_of_the_team"}
    both = house.start(**team)
    at = (await row_of(both)).now
    engine = house.start() if is_gone else both
    await ask(engine, "kling-3.0")
    (lane,) = [row["account"] for row in await engine.database.fetch("SELECT account FROM attempt")]
    await set_ahead(engine, accounts=told_of(both, at=at))
    await send(engine, lane)
    await engine.database.fetch("UPDATE attempt SET parked_at = now() - interval '1 h'")
    for _ in range(4):
        await send(engine, lane)

    attempt = await only(engine)
    assert (attempt["state"], attempt["parked_looks"], house.posts()) == ("planned", 0, 0)


async def test_what_moved_to_another_account_is_found_there_and_stays_there(house: House) -> None:
    engine = house.start(KLING_API_KEY__TEAM="key_of_the_team")
    engine = replace(engine, dice=lambda: 0.0)
    await ask(engine, "kling-3.0")
    attempt = await only(engine)
    assert attempt["account"] == "kling"
    await set_ahead(engine)
    of_all = house.vendor.reply

    async def reply(request: Request) -> Response:
        """Only the team's account knows the operation."""
        is_team = "key_of_the_team" in str(request.headers.get("authorization"))
        house.vendor.known = {attempt["marker"]: "op-of-the-team"} if is_team else {}
        return await of_all(request)

    far_side = FarSide(reply)
    engine = replace(engine, exact=far_side, polls=far_side)
    for _ in range(2):  # parked, then looked up
        await send(engine, "kling")

    attempt = await only(engine)
    told = (attempt["state"], attempt["account"], attempt["operation_id"])
    assert told == ("accepted", "kling:team", "op-of-the-team")
    (row,) = await engine.database.fetch("SELECT what, lane FROM due WHERE what <> 'expire'")
    assert (row["what"], row["lane"]) == ("poll", "kling:team")


@pytest.mark.parametrize("told", [{}, {"kling": {"00ff": "2026-01-01T00:00:00+00:00"}}])
async def test_credentials_of_another_account_prove_no_absence(
    house: House, told: dict[str, dict[str, str]]
) -> None:
    # Given a mark of processes that may have sent with other credentials than today's
    engine = house.start()
    await ask(engine, "kling-3.0")
    ours = told_of(engine, at=(await row_of(engine)).now)
    known = {"kling": {**ours["kling"], **told["kling"]}} if told else {}
    await set_ahead(engine, accounts=known)

    for _ in range(4):
        await send(engine, "kling")
        await engine.database.fetch("UPDATE attempt SET parked_at = now() - interval '1 h'")
        await engine.database.fetch("UPDATE due SET at = least(at, now()) WHERE at < '2030-01-01'")

    # Then the operator decides, and nothing is sent
    (one,) = await engine.database.run(parked.parked)
    assert (one.looks, one.is_looked_up, house.posts()) == (0, False, 0)


async def test_a_mark_tells_of_all_credentials_before_they_are_sent_with(house: House) -> None:
    engine = house.start()
    await ask(engine)
    await send(engine)
    at = (await row_of(engine)).now
    first = told_of(engine, at=at)["runway"]

    rotated = house.start(RUNWAYML_API_SECRET="key_" + "f" * 128)
    broken = replace(rotated, storage=Broken(rotated.storage, "put_note"))
    await ask(rotated)
    await send(broken)
    assert house.posts() == 1, "it was sent with credentials that no mark tells of"

    rotated.clearance.pause(0)
    await send(rotated)
    assert house.posts() == 2
    name = (await marks.names(rotated.storage, (await row_of(rotated)).installation))[-1]
    mark = await marks.read(rotated.storage, (await row_of(rotated)).installation, name)
    assert mark is not None
    assert set(mark.accounts["runway"]) == {*first, *told_of(rotated, at=at)["runway"]}
    kept = restore._accounts(rotated, mark, at=at + 2 * restore.ACCOUNTS_KEPT)  # noqa: SLF001
    assert set(kept["runway"]) == set(told_of(rotated, at=at)["runway"])


async def test_a_process_whose_marks_are_not_stored_stops_sending(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = house.start()
    await ask(engine)
    await send(engine)
    broken = replace(engine, storage=Broken(engine.storage, "put_note"))
    await ask(broken)
    await send(broken)
    assert house.posts() == 2  # for a while it goes on

    monkeypatch.setattr(restore, "MAX_UNMARKED", 0.0)
    await tend(broken)
    await ask(broken)
    await send(broken)
    assert house.posts() == 2

    await tend(engine)
    await tend(engine)
    await send(engine)
    assert house.posts() == 3


async def test_the_attempt_that_had_replaced_it_is_found_too(house: House) -> None:
    # Given an attempt that was replaced, and its replacement accepted, after the backup
    later = house.start()
    await ask(later, "kling-3.0", unknown_policy="at_least_once")
    original = await only(later)
    await later.database.fetch(
        "UPDATE attempt SET state = 'sent', sent_at = now(), payload_hash = 'x'"
    )
    await mark_unknown(later, original["id"], "a test")
    await later.database.fetch("UPDATE due SET at = now() - interval '1 s'")
    await later.database.fetch("UPDATE attempt SET sent_at = now() - interval '1 h'")
    await Pump(verb_for(What.LOOK_UP, later), later.database, "kling", seconds=0.2).run()
    (replacement,) = await later.database.fetch(
        "SELECT * FROM attempt WHERE state = 'planned' AND id <> %s", (original["id"],)
    )
    house.vendor.known[replacement["marker"]] = "op-of-the-replacement"

    # When the database is as it was in the backup
    await later.database.fetch("UPDATE output SET attempt = %s", (original["id"],))
    await later.database.fetch("DELETE FROM due WHERE id <> (SELECT id FROM job)")
    await later.database.fetch("DELETE FROM attempt WHERE id = %s", (replacement["id"],))
    await later.database.fetch(
        "UPDATE attempt SET state = 'planned', sent_at = NULL, payload_hash = NULL, "
        "finished_at = NULL, error = NULL"
    )
    await later.database.fetch(
        "INSERT INTO due (what, id, lane, tenant) SELECT 'submit', id, account, 'default' "
        "FROM attempt"
    )
    await set_ahead(later)
    await send(house.start(), "kling")
    await send(house.start(), "kling")

    # Then the replacement's operation is this job's
    attempt = await only(later)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "op-of-the-replacement")
    assert house.posts() == 0


async def an_hour_passes(engine: Engine) -> None:
    """For attempts, and every look-up is due."""
    await engine.database.fetch(
        """
        UPDATE attempt SET sent_at = sent_at - interval '1 h',
                           answer_by = answer_by - interval '1 h',
                           absent_after = absent_after - interval '1 h',
                           negative_at = negative_at - interval '1 h'
        """
    )
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s' WHERE what = 'look_up'")


async def test_a_replacement_of_what_was_in_doubt_before_the_restore_is_parked(
    house: House,
) -> None:
    # Given an attempt whose answer was lost, then a restore
    engine = house.start()
    await ask(engine, "kling-3.0")
    house.vendor.answers = False
    await send(engine, "kling")
    first = await only(engine)
    assert first["state"] == "unknown"
    await set_ahead(engine)
    await tend(engine)

    # When its absence is proven, as it may have been before
    for _ in range(2):
        await an_hour_passes(engine)
        await Pump(verb_for(What.LOOK_UP, engine), engine.database, "kling", seconds=0.2).run()
    await send(engine, "kling")

    # Then what replaces it is parked: it may have been sent as well
    (second,) = await parked_ids(engine)
    assert second != first["id"]
    assert house.posts() == 1


async def test_a_callback_adopts_a_parked_attempt(house: House) -> None:
    engine = house.start()
    await ask(engine, "kling-3.0")
    await set_ahead(engine)
    await tend(engine)

    marker = (await only(engine))["marker"]
    await hear(engine, "kling", marker, headers={}, body=b'{"id": "op-told"}')

    attempt = await only(engine)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "op-told")


def test_times_of_the_mark_fit_each_other() -> None:
    assert restore.MARK_PERIOD < restore.SETTLING_TIME < restore.IDLE_PERIOD
