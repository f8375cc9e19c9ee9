"""`longtake lanes` against a real database."""

import asyncio
import json

import pytest

from models import due
from models.database import Database
from models.verbs import DECLARED, What
from tests.unit.cli.scripted import Run


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGTAKE_BROKER_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)
    monkeypatch.setenv("RUNWAYML_API_SECRET", "key_secret")


def put(database_url: str, lanes: list[str]) -> None:
    async def work() -> None:
        database = Database(database_url)
        rows = [due.Row(id=f"evt-{lane}", lane=lane, tenant="acme", after=-30.0) for lane in lanes]
        await database.run(lambda connection: due.put(connection, What.DELIVER, rows))
        await database.close()

    asyncio.run(work())


def test_json_has_every_kind_of_work(run: Run, database_url: str) -> None:
    put(database_url, ["a.test", "b.test", "c.test"])

    found = json.loads(run("lanes", "--json", "--limit", "2").out)

    assert {each["what"] for each in found} == {each.what for each in DECLARED}
    deliveries = [each for each in found if each["what"] == "deliver"]
    assert [(each["lane"], each["due"]) for each in deliveries] == [
        ("a.test", 1),
        ("b.test", 1),
        ("*", 1),
    ]


def test_the_table_tells_ages_and_pauses(run: Run, database_url: str) -> None:
    put(database_url, ["[red]host.test"])
    run("providers", "pause", "runway", "--reason", "the vendor is [bold]down")

    shown = run("lanes").out

    assert "paused: the vendor is [bold]down" in shown
    (line,) = (line for line in shown.splitlines() if "[red]host.test" in line)
    assert line.split()[:5] == ["deliver", "deliver", "[red]host.test", "1", "1"]
    assert float(line.split()[5]) >= 30


def test_a_limit_out_of_range_is_refused(run: Run) -> None:
    refused = run("lanes", "--limit", "0")

    assert refused.code == 2
    assert "--limit" in refused.err
