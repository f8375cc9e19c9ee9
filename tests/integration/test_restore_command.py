"""`longtake restore`: what the operator sees of a restored database, and does about it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import high_water
from models.request import VideoRequest
from storage import marks
from storage.marks import Mark
from tasks.engine import Engine
from tasks.intake import accept
from tests.integration.conftest import ENVIRONMENT, MakeEngine

pytestmark = pytest.mark.anyio

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def longtake(database_url: str, tmp_path: Path) -> Command:
    ours = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(tmp_path)}

    def run(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("longtake"), *arguments],
            check=False,
            env=ENVIRONMENT | ours,
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


async def restored(engine: Engine, jobs: int) -> None:
    """Jobs, and then the mark that a later time of their database would have left."""
    for _ in range(jobs):
        request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
        await accept(engine, request, tenant="default")
    row = await engine.database.run(high_water.read)
    mark = Mark(installation=row.installation, generation=9, nonce="abc", written_at=row.now)
    await marks.write(engine.storage, mark)


async def test_a_healthy_database_is_told_to_be_one(longtake: Command) -> None:
    status = longtake("restore", "status")
    assert (status.returncode, status.stdout) == (0, ""), status.stderr
    assert "not behind its mark" in status.stderr
    assert "No attempt is parked" in longtake("restore", "list").stderr


async def test_parked_attempts_are_told_released_failed_settled_and_done(
    longtake: Command, make_engine: MakeEngine
) -> None:
    # Given a restored database with three attempts that may have been sent
    engine = make_engine()
    await restored(engine, 3)

    # Then status and doctor tell of them
    status = longtake("restore", "status")
    assert status.returncode == 1, status.stderr
    assert "3 attempt(s) parked, $1.80 at risk" in status.stderr
    assert "3 attempt(s) parked" in longtake("doctor").stderr
    facts = json.loads(longtake("restore", "status", "--json").stdout)
    assert (facts["parked"], facts["mark"]["generation"]) == (3, 9)
    ids = [row["id"] for row in json.loads(longtake("restore", "list", "--json").stdout)]
    assert len(ids) == 3

    # And the operator settles each in her own way
    assert longtake("restore", "release", ids[0], answer="n\n").returncode == 2
    assert longtake("restore", "release", ids[0], answer="y\n").returncode == 0
    assert longtake("restore", "settle", ids[1], "--operation", "op-1").returncode == 0
    early = longtake("restore", "done", "--yes")
    assert early.returncode == 2
    assert "1 attempt(s) are still parked" in early.stderr
    assert longtake("restore", "fail", "--all", "--yes").returncode == 0
    done = longtake("restore", "done", "--yes")
    assert done.returncode == 0, done.stderr

    rows = await engine.database.fetch(
        "SELECT id, state, parked_at IS NULL AS free FROM attempt ORDER BY id"
    )
    await engine.close()
    assert [(row["state"], row["free"]) for row in rows] == [
        ("planned", True),
        ("accepted", False),
        ("failed", False),
    ]
    assert longtake("restore", "status").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("release",), "name attempts, or say --all"),
        (("fail", "att_x", "--all"), "name attempts, or say --all"),
        (("release", "att_x"), "att_x: not parked"),
        (("settle", "att_x", "--operation", "op"), "att_x is not parked"),
    ],
)
async def test_what_is_not_parked_is_refused(
    longtake: Command, arguments: tuple[str, ...], words: str
) -> None:
    ended = longtake("restore", *arguments)
    assert ended.returncode == 2
    assert words in ended.stderr
