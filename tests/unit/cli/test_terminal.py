"""What others wrote is shown by the commands, and never obeyed by the terminal."""

import json
from typing import Any

import pytest

from cli import show
from cli.terminal import plain
from tests.unit.cli.scripted import JOB, FakeApi, Run

#: Clears the screen, sets the title, turns text around, and two that 8-bit terminals obey.
HOSTILE = "a fox\x1b[2J\x1b]0;owned\x07 \u202etxt.exe\u2066 \x9b31m\x7f\u2028end"
OBEYED = "\x1b\x07\x9b\x7f\u202e\u2066\u2028\x0d\x08"
#: An emoji of several characters, and right-to-left text, are text.
HARMLESS = "a fox 👩‍🚀, שלום, 星, tab\tand\nline"


def hostile_job(**more: Any) -> dict[str, Any]:
    return {**JOB, "prompt": HOSTILE, "status": "failed", "error_message": HOSTILE, **more}


@pytest.mark.parametrize("command", [("get", "job_vid_1"), ("list",)])
def test_a_prompt_commands_no_terminal(run: Run, api: FakeApi, command: tuple[str, ...]) -> None:
    job = hostile_job()
    api.answers = [(200, {"data": [job], "has_more": False} if command == ("list",) else job)]

    ended = run(*command, "--api-url", api.url)

    assert ended.code == 0
    assert not set(OBEYED) & set(ended.out + ended.err)
    assert "\\u001b[2J" in ended.out


def test_json_stays_json_that_says_the_same(run: Run, api: FakeApi) -> None:
    api.answers = [(200, hostile_job(metadata={"note": f"{HOSTILE} {HARMLESS}"}))]

    ended = run("get", "job_vid_1", "--json", "--api-url", api.url)

    assert not set(OBEYED) & set(ended.out)
    assert json.loads(ended.out)["metadata"]["note"] == f"{HOSTILE} {HARMLESS}"


def test_an_error_commands_no_terminal(run: Run, api: FakeApi) -> None:
    refusal = {"detail": HOSTILE, "error": {"message": HOSTILE, "code": "invalid_request"}}
    api.answers = [(400, refusal)]

    ended = run("submit", "a fox", "--api-url", api.url)

    assert ended.code != 0
    assert not set(OBEYED) & set(ended.out + ended.err)


def test_a_prompt_writes_no_lines_among_the_facts(run: Run, api: FakeApi) -> None:
    api.answers = [(200, hostile_job(prompt="a fox\nvideo_url  https://evil.example"))]

    ended = run("get", "job_vid_1", "--api-url", api.url)

    assert not any(line.startswith("video_url") for line in ended.out.splitlines())


def test_no_markup_of_others_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    show.say("[link=https://evil.example]a fox[/link]")

    assert "[link=https://evil.example]" in capsys.readouterr().err


def test_other_text_stays_as_it_is() -> None:
    assert plain(HARMLESS) == HARMLESS


def test_what_is_escaped_once_stays_as_it_is() -> None:
    assert plain(plain(HOSTILE)) == plain(HOSTILE)
