"""A restored database sends nothing that was sent since its backup: the far side's bill decides."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from models.request import VideoRequest
from models.verbs import What
from stack.servers.account import programs, server_account
from stack.servers.postgres import EmbeddedPostgres
from tasks.engine import Engine
from tasks.intake import accept
from tasks.loop import Runtime
from tasks.pump import running as lifecycle
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

KLING = {"KLING_API_KEY": "kling-for-tests", "KLING_BASE_URL": "http://127.0.0.1:9"}


@dataclass(slots=True)
class Vendors:
    """Runway and Kling: they take every POST, and Kling finds a task by our own id."""

    tasks: list[dict[str, Any]] = field(default_factory=list)

    async def reply(self, request: Request) -> Response:
        if request.method == "POST":
            marker = json.loads(request.content or b"{}").get("options", {}).get("external_task_id")
            task = {"id": f"op-{len(self.tasks)}", "status": "processing", "external_id": marker}
            self.tasks.append(task)
            return said(200, {"code": 0, "data": task, "id": task["id"]})
        named = request.url.partition("external_task_ids=")[2]
        ours = [task for task in self.tasks if named in {task["id"], task["external_id"]}]
        return said(200, {"code": 0, "data": ours})


@dataclass(frozen=True, slots=True)
class Process:
    """A worker's process as far as pumps know it."""

    engine: Engine


@dataclass(frozen=True, slots=True)
class Backups:
    """pg_dump and pg_restore of the test's database, on its own server."""

    url: str
    server: EmbeddedPostgres
    folder: Path

    def dump(self) -> Path:
        file = self.folder / "backup.dump"
        _run("pg_dump", "--format=custom", f"--dbname={self.url}", f"--file={file}")
        return file

    def restore(self, file: Path) -> None:
        """Drop the database, with whoever is connected, and make it from the backup."""
        name = sql.Identifier(str(conninfo_to_dict(self.url)["dbname"]))
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(name))
            admin.execute(sql.SQL("create database {} template template0").format(name))
        _run("pg_restore", "--exit-on-error", f"--dbname={self.url}", str(file))


def _run(program: str, *arguments: str) -> None:
    command = [str(programs(server_account()) / program), *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture
def backups(database_url: str, postgres_server: EmbeddedPostgres, tmp_path: Path) -> Backups:
    return Backups(database_url, postgres_server, tmp_path)


@pytest.fixture
def start(make_engine: MakeEngine) -> Callable[[FarSide], Engine]:
    return lambda far: facing(make_engine(**KLING, LONGTAKE_PUMP_SECONDS=0.2), far)


async def ask(engine: Engine, model: str) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": model})
    return (await accept(engine, request, tenant="default")).job_id


async def all_is_due(engine: Engine) -> None:
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s' WHERE what = 'submit'")


async def send(engine: Engine, lane: str) -> None:
    """A slot of a worker takes the hint for a lane; all that can be sent is due."""
    await all_is_due(engine)
    await lifecycle._pump(cast("Runtime", Process(engine)), What.SUBMIT, lane)  # noqa: SLF001


async def job_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM job WHERE id = %s", (job,))
    return row


async def test_what_was_sent_since_the_backup_is_not_paid_for_again(
    start: Callable[[FarSide], Engine], backups: Backups
) -> None:
    # Given jobs, a backup, and the jobs' POSTs after it
    far = FarSide(Vendors().reply)
    before = start(far)
    for _ in range(3):
        await ask(before, "gen4.5")
    backup = backups.dump()
    await send(before, "runway")
    assert far.posts() == 3
    await before.close()

    # When the backup is restored and a process starts on it, and starts again
    backups.restore(backup)
    for _ in range(2):
        after = start(far)
        await send(after, "runway")
        await after.close()

    # Then nothing was paid for twice
    assert far.posts() == 3


async def test_a_sent_attempt_is_found_by_its_marker_where_the_vendor_knows_it(
    start: Callable[[FarSide], Engine], backups: Backups
) -> None:
    far = FarSide(Vendors().reply)
    before = start(far)
    job = await ask(before, "kling-3.0")
    backup = backups.dump()
    await send(before, "kling")
    await before.close()

    backups.restore(backup)
    after = start(far)
    await send(after, "kling")
    await send(after, "kling")

    attempts = await after.database.fetch("SELECT state, operation_id FROM attempt")
    state = (await job_of(after, job))["state"]
    await after.close()
    assert (far.posts(), state, attempts) == (
        1,
        "processing",
        [{"state": "accepted", "operation_id": "op-0"}],
    )


async def test_a_process_remembers_what_a_database_that_lagged_never_heard_of(
    start: Callable[[FarSide], Engine], backups: Backups
) -> None:
    # Given a process that has just sent something, and no time for anything else
    far = FarSide(Vendors().reply)
    engine = start(far)
    await ask(engine, "gen4.5")
    backup = backups.dump()
    await all_is_due(engine)
    await Pump(verb_for(What.SUBMIT, engine), engine.database, "runway", seconds=0.2).run()
    assert far.posts() == 1

    # When the database is replaced under it by one that lacks the last moment
    backups.restore(backup)
    await send(engine, "runway")
    await send(engine, "runway")
    await engine.close()

    # Then it does not pay again
    assert far.posts() == 1
