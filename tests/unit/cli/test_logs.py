"""`longtake logs` without a database: what the API shows of a job, and the logs that are given."""

import json
from pathlib import Path

import pytest

from cli import logs
from tests.unit.cli.scripted import JOB, FakeApi, Run

SHOWN = JOB | {
    "request_id": "req_1",
    "created_at": "2026-01-01T12:00:00Z",
    "finished_at": "2026-01-01T12:00:09Z",
    "started_at": None,
}


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONGTAKE_DATABASE_URL", "LONGTAKE_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)


def test_its_times_and_the_request_that_submitted_it(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    api.answers = [(200, SHOWN)]
    log = tmp_path / "api.log"
    lines = (
        {"timestamp": "2026-01-01T12:00:01Z", "event": "http.request", "request_id": "req_1"},
        {"timestamp": "2026-01-01T12:00:01Z", "event": "http.request", "request_id": "req_12"},
    )
    log.write_text("\n".join(map(json.dumps, lines)))

    ended = run("logs", "job_vid_1", str(log), "--api-url", api.url)

    assert ended.code == 0, ended.err
    assert [line.split()[1:3] for line in ended.out.splitlines()] == [
        ["api", "created_at"],
        ["api", "http.request"],
        ["api", "finished_at"],
    ]


def test_where_no_logs_are_it_says_where_it_looked(run: Run, api: FakeApi, tmp_path: Path) -> None:
    api.answers = [(200, SHOWN)]

    ended = run("logs", "job_vid_1", "--api-url", api.url)

    assert ended.code == 0
    assert str(tmp_path / "logs") in ended.err


def test_a_job_that_the_api_does_not_know_is_refused(run: Run, api: FakeApi) -> None:
    api.refuse(404, "Job 'job_vid_2' not found", kind="not_found")

    ended = run("logs", "job_vid_2", "--api-url", api.url)

    assert ended.code == 2
    assert "not found" in ended.err


def test_a_request_id_that_its_sender_chose_shows_no_lines_of_others(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    api.answers = [(200, SHOWN | {"request_id": "info"})]
    log = tmp_path / "worker.log"
    at = "2026-01-01T12:00:01Z"
    lines = (
        {"timestamp": at, "level": "info", "event": "job.moved", "job": "job_vid_of_another"},
        {"timestamp": at, "level": "info", "event": "http.request", "request_id": "info"},
    )
    log.write_text("\n".join(map(json.dumps, lines)))

    ended = run("logs", "job_vid_1", str(log), "--api-url", api.url)

    assert ended.code == 0, ended.err
    assert "job_vid_of_another" not in ended.out
    assert "http.request" in ended.out


def test_of_too_many_lines_the_newest_are_shown(
    run: Run, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MOST", 2)
    api.answers = [(200, SHOWN | {"created_at": None, "finished_at": None})]
    files = [tmp_path / "a.log", tmp_path / "b.log"]
    for file, minutes in zip(files, ((3, 4), (1, 2)), strict=True):
        file.write_text(
            "".join(
                f'{{"timestamp": "2026-01-01T12:0{n}:00Z", "event": "n{n}", "job": "job_vid_1"}}\n'
                for n in minutes
            )
        )

    ended = run("logs", "job_vid_1", *map(str, files), "--api-url", api.url)

    assert [line.split()[2] for line in ended.out.splitlines()] == ["n3", "n4"]
