"""Dead letters are listed, sealed anew with the newest key, and go when they are too old."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from longtake.sealing import sealed
from models.sealing import public_key
from models.vault import Vault
from tasks.engine import Engine
from tasks.letters import Letter, retry, take_in
from tasks.upkeep.reseal import open_letters, reseal
from tasks.upkeep.retention import prune_once
from tests.integration.conftest import ENVIRONMENT, MakeEngine

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[3]
REQUEST = {"prompt": "a quiet sea", "model": "gen4.5"}


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = make_engine()
    yield engine
    await engine.close()


def letter(task_id: str = "t-1", *, deaths: int = 0, **kwargs: Any) -> Letter:
    return Letter(task_id=task_id, args=(), kwargs=kwargs, deaths=deaths)


async def kept(engine: Engine) -> list[Mapping[str, Any]]:
    return list(await engine.database.fetch("SELECT * FROM intake_failure ORDER BY id"))


async def test_what_is_kept_can_be_opened_and_was_what_was_sent(engine: Engine) -> None:
    sent: dict[str, Any] = {"request": REQUEST | {"fps": "many"}, "tenant": "default"}

    assert await take_in(engine, letter(**sent)) is None
    assert await take_in(engine, letter(**sent)) is None  # delivered again

    (row,) = await kept(engine)
    assert (row["tenant"], row["param"]) == ("default", "fps")
    assert "many" not in row["message"]
    assert engine.vault.open_json(row["payload"]) == {"args": [], "kwargs": sent}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
async def test_a_number_that_is_none_is_named(engine: Engine, value: float) -> None:
    """A message may hold what JSON has no number for."""
    assert await take_in(engine, letter(request=REQUEST | {"max_cost_usd": value})) is None

    (row,) = await kept(engine)
    assert (row["code"], row["param"]) == ("invalid_request", "max_cost_usd")
    assert "finite number" in row["message"]


async def test_a_message_whose_job_is_there_is_no_dead_letter_when_it_comes_again(
    engine: Engine,
) -> None:
    first = await take_in(engine, letter(request=REQUEST))
    assert first is not None

    assert await take_in(engine, letter(request=REQUEST | {"model": "gone"})) is None

    assert await kept(engine) == []


async def test_our_own_mistake_costs_no_request_and_quotes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise ValueError("a quiet sea")

    monkeypatch.setattr("tasks.letters.accept", breaks)

    assert await take_in(engine, letter(request=REQUEST)) is None

    (row,) = await kept(engine)
    assert row["code"] == "internal_error"
    assert engine.vault.open_json(row["payload"])["kwargs"] == {"request": REQUEST}
    assert "quiet" not in row["message"] + capsys.readouterr().out


async def test_a_message_that_ends_its_workers_is_kept_aside(engine: Engine) -> None:
    assert await take_in(engine, letter(request=REQUEST, deaths=10)) is None

    assert [row["code"] for row in await kept(engine)] == ["internal_error"]


STRANGE: dict[str, dict[str, Any]] = {
    "a field with no name": {"request": REQUEST | {"\x00" * 300: 1}},
    "a tenant with a NUL": {"request": REQUEST, "tenant": "a\x00"},
    "half a character": {"request": REQUEST | {"prompt": "\ud83d"}},
    "arguments twice": {"_args": (REQUEST,), "request": REQUEST},
    "too many arguments": {"_args": (REQUEST, "a", "default", 4)},
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_whatever_it_holds_it_can_be_kept(engine: Engine, strange: str) -> None:
    kwargs = dict(STRANGE[strange])
    args = kwargs.pop("_args", ())

    assert await take_in(engine, Letter(task_id="\ud83d\x00", args=args, kwargs=kwargs)) is None

    assert len(await kept(engine)) == 1


async def test_they_are_sealed_anew_and_pruned_with_events(
    engine: Engine, make_engine: MakeEngine
) -> None:
    await take_in(engine, letter("t-1", request={}))
    await take_in(engine, letter("t-2", request={}))
    newest = "a-newer-key-that-only-tests-use-0123456789"
    both = make_engine(LONGTAKE_SECRET_KEYS=f"{newest},{ENVIRONMENT['LONGTAKE_SECRET_KEYS']}")
    only_newest = make_engine(LONGTAKE_SECRET_KEYS=newest)

    assert await reseal(both) == 2
    for row in await kept(engine):
        assert only_newest.vault.open_json(row["payload"])["kwargs"] == {"request": {}}

    await engine.database.fetch(
        "UPDATE intake_failure SET at = now() - interval '91 days' WHERE task_id = 't-1'"
    )
    assert (await prune_once(engine)).intake_failures == 1
    assert [row["task_id"] for row in await kept(engine)] == ["t-2"]
    await both.close()


NEWEST = "a-newer-key-that-only-tests-use-0123456789"


def of_a_sealer(engine: Engine, task_id: str, job_id: str = "order-1", **beside: Any) -> Letter:
    """A letter for a tenant that is not there yet, or is named beside."""
    key = public_key(engine.vault)
    text = sealed({"request": REQUEST}, key=key, task="video.enqueue", id_="order-1", tenant="late")
    return letter(task_id, **{"sealed": text, "job_id": job_id, "tenant": "late"} | beside)


async def test_what_a_sender_sealed_outlives_the_key_that_it_was_sealed_with(
    engine: Engine, make_engine: MakeEngine
) -> None:
    # Given a letter that is refused for now, and one that was kept with its sender's seal
    assert await take_in(engine, of_a_sealer(engine, "t-1")) is None
    as_sent = of_a_sealer(engine, "t-2").kwargs
    await take_in(engine, letter("t-2", request={}, job_id="order-2"))
    await engine.database.fetch(
        "UPDATE intake_failure SET payload = %s, job = 'order-1' WHERE task_id = 't-2'",
        (engine.vault.seal_json({"args": [], "kwargs": as_sent}),),
    )

    # When the key rotates
    both = make_engine(LONGTAKE_SECRET_KEYS=f"{NEWEST},{ENVIRONMENT['LONGTAKE_SECRET_KEYS']}")
    assert await open_letters(both) == []
    await reseal(both)
    await both.close()

    # Then the newest alone takes both in
    newest = make_engine(LONGTAKE_SECRET_KEYS=NEWEST)
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('late')")
    for row in await kept(engine):
        assert newest.vault.open_json(row["payload"])["kwargs"]["request"] == REQUEST
        assert (await retry(newest, row["id"], tenant=None)).id == "order-1"
    await newest.close()


async def test_what_no_key_opens_is_named_by_the_command(engine: Engine) -> None:
    stranger = Vault((SecretStr("a-key-that-nobody-here-has-0123456789"),))
    text = sealed({}, key=public_key(stranger), task="video.enqueue", id_="a", tenant="default")
    await take_in(engine, letter(sealed=text, job_id="a"))
    environment = ENVIRONMENT | {"LONGTAKE_DATABASE_URL": engine.settings.require_database()}

    def resealed() -> str:
        return subprocess.run(
            (sys.executable, "-P", "-m", "cli", "reseal"),
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stderr

    said = " ".join(resealed().split())
    (row,) = await kept(engine)
    assert row["id"] in said
    assert "Keep the old keys" in said
    assert "may be removed" not in said


@pytest.mark.parametrize("field", ["job_id", "tenant"])
async def test_a_sealed_letter_with_a_strange_name_is_refused_for_it(
    engine: Engine, field: str
) -> None:
    assert await take_in(engine, of_a_sealer(engine, "t-1", **{field: "\ud800"})) is None

    (row,) = await kept(engine)
    assert (row["code"], row["param"]) == ("invalid_request", field)


async def test_they_are_listed_without_what_was_sent(engine: Engine) -> None:
    await take_in(engine, letter("t-1", request={"prompt": ""}))
    environment = {
        **ENVIRONMENT,
        "LONGTAKE_DATABASE_URL": engine.settings.require_database(),
        "PYTHONPATH": str(ROOT),
    }

    def longtake(*arguments: str) -> str:
        command = (sys.executable, "-P", "-m", "cli", "intake", "list", *arguments)
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    (listed,) = json.loads(longtake("--json"))
    assert (listed["task_id"], listed["message"]) == ("t-1", "prompt is required")
    assert "payload" not in listed
    assert "prompt is required" in longtake()
    assert json.loads(longtake("--json", "--tenant", "another")) == []
