"""`longtake batch`: what it shows of errors and of times."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.scripted import FakeApi, Run


def wrong(line: int, message: str, *, custom_id: str | None = None) -> dict[str, Any]:
    return {
        "line": line,
        "custom_id": custom_id,
        "code": "invalid_request",
        "message": f"line {line}: {message}",
        "param": message.split(maxsplit=1)[0],
    }


def test_an_error_that_many_lines_share_is_shown_once(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    # Given a wrong default, a line of its own error in between, and more lines than are told
    errors = [
        *(wrong(line, "model must be ours", custom_id=f"fox-{line}") for line in (1, 2, 3)),
        wrong(4, "seed must be short", custom_id="fox-4"),
        *(wrong(line, "model must be ours") for line in (5, 7, 8)),
    ]
    error = {"type": "invalid_request", "code": "invalid_lines", "message": "invalid lines"}
    api.answers = [(400, {"error": error | {"errors": errors, "error_count": 300}})]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a fox\n")

    ended = run("batch", "submit", str(prompts), "--api-url", api.url, "--api-key", "lt_key")

    assert [line.split() for line in ended.err.splitlines()] == [
        ["line", "custom_id", "field", "message"],
        ["1", "to", "3", "model", "model", "must", "be", "ours"],
        ["4", "fox-4", "seed", "seed", "must", "be", "short"],
        ["5", "model", "model", "must", "be", "ours"],
        ["7", "to", "8", "model", "model", "must", "be", "ours"],
        ["and", "293", "more"],
        ["error:", "invalid", "lines"],
    ]
    assert ended.code == 2


def test_the_times_of_a_batch_are_minutes(run: Run, api: FakeApi) -> None:
    counts = dict.fromkeys(("total", "pending", "processing", "complete", "failed"), 1)
    batch = {"id": "batch_1", "status": "in_progress", "counts": counts | {"cancelled": 0}}
    api.answers = [(200, batch | {"created_at": "2026-11-22T17:09:21.307Z", "finished_at": None})]

    ended = run("batch", "status", "batch_1", "--api-url", api.url, "--api-key", "lt_key")

    shown = [line.split() for line in ended.out.splitlines()]
    assert ["created", "2026-11-22", "17:09"] in shown
    assert "finished" not in ended.out


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ("duration", "--defaults 'duration': FIELD=VALUE is expected"),
        ("length=5", "--defaults 'length=5': 'length' is no field; fields: "),
    ],
)
def test_a_wrong_default_is_refused_before_anything_is_sent(
    run: Run, tmp_path: Path, given: str, refusal: str
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a fox\n")

    ended = run("batch", "submit", str(prompts), "--defaults", given, "--api-key", "lt_key")

    assert refusal in ended.err
    assert ended.code == 2
