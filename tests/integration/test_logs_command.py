"""`longtake logs`: all that is known of one job, in the order of time, as text and as JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ENVIRONMENT, MakeEngine
from tests.integration.engine.house import ask

pytestmark = pytest.mark.anyio

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def longtake(database_url: str, tmp_path: Path) -> Command:
    ours = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(tmp_path)}

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("longtake"), "logs", *arguments],
            check=False,
            env=ENVIRONMENT | ours,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def line(at: str, event: str, **more: object) -> str:
    return json.dumps({"timestamp": at, "level": "info", "event": event, "logger": "x", **more})


async def made(make_engine: MakeEngine) -> tuple[str, str, str]:
    """A job of a minute ago, its attempt, and one of another job."""
    engine = make_engine()
    job, other = await ask(engine), await ask(engine)
    await engine.database.fetch(
        "UPDATE event SET at = '2026-01-01 12:00:00.5+00' WHERE job = %s", (job,)
    )
    found = await engine.database.fetch("SELECT id, job FROM attempt")
    of = {row["job"]: row["id"] for row in found}
    return job, of[job], of[other]


async def test_lines_and_events_are_in_the_order_of_time(
    make_engine: MakeEngine, longtake: Command, tmp_path: Path
) -> None:
    job, attempt, other = await made(make_engine)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/worker-main.log").write_text(
        "\n".join(
            (
                "a banner of another program",
                line("2026-01-01T12:00:02Z", "poll.lost", attempts=[other, attempt]),
                line("2026-01-01T12:00:01Z", "attempt.unknown", attempt=attempt),
                line("2026-01-01T12:00:01Z", "attempt.unknown", attempt=other),
                line("2026-01-01T12:00:01Z", "a longer id", job=f"{job}0"),
                line("yesterday", "no time", job=job),
                "{" + job,
            )
        )
    )
    (tmp_path / "logs/api.log.1").write_text(
        line("2026-01-01T12:00:00Z", "http.request", request_id="req_other")
        + line("2026-01-01T12:00:00+00:00", "job.seen", job=job).replace("{", "\n{", 1)
    )

    shown = longtake(job)
    told = json.loads(longtake(job, "--json").stdout)

    assert shown.returncode == 0, shown.stderr
    assert [(each["source"], each["event"]) for each in told] == [
        ("api", "job.seen"),
        ("events", "pending"),
        ("worker-main", "attempt.unknown"),
        ("worker-main", "poll.lost"),
    ]
    assert told[2] == {
        "at": "2026-01-01T12:00:01.000Z",
        "source": "worker-main",
        "level": "info",
        "event": "attempt.unknown",
        "attempt": attempt,
    }
    assert [row.split()[:3] for row in shown.stdout.splitlines()] == [
        [each["at"], each["source"], each["event"]] for each in told
    ]


async def test_what_a_terminal_would_obey_is_shown_as_text(
    make_engine: MakeEngine, longtake: Command
) -> None:
    job, _, _ = await made(make_engine)
    said = {"error": "\x1b[2Jgone\r\n2026-01-01T00:00:00Z  events  complete", "job": job}
    given = line("2026-01-01T12:00:01Z", "x", **said)

    for options in ([], ["--json"]):
        shown = longtake(job, "-", *options, given=given)
        assert "gone" in shown.stdout
        assert not set(shown.stdout) & {"\x1b", "\r"}
    rows = longtake(job, "-", given=given).stdout.splitlines()
    assert len(rows) == 2, "a line of a log made two"


async def test_an_unknown_job_and_a_missing_file_are_told(
    make_engine: MakeEngine, longtake: Command, tmp_path: Path
) -> None:
    job, _, _ = await made(make_engine)

    unknown = longtake("job_vid_nobodys")
    missing = longtake(job, str(tmp_path / "nowhere.log"))

    assert (unknown.returncode, missing.returncode) == (2, 2)
    assert "'job_vid_nobodys' is not in the database" in unknown.stderr
    assert "nowhere.log can't be read" in missing.stderr


async def test_no_secret_of_the_job_is_shown(make_engine: MakeEngine, longtake: Command) -> None:
    job, _, _ = await made(make_engine)

    shown: Any = longtake(job, "--json").stdout

    assert "a quiet sea" not in shown
