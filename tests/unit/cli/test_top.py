"""`longtake top`: what keys do to the view, and that it takes nothing but a terminal."""

import io
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.terminal import SafeConsole
from cli.top import View, keys_of
from tests.unit.cli.scripted import JOB, FakeApi, Run


def jobs(*numbers: int, **more: Any) -> list[dict[str, Any]]:
    return [JOB | {"id": f"job_vid_{n}", "status": "processing", **more} for n in numbers]


def drawn(view: View, lines: int = 20, width: int = 120) -> str:
    console = SafeConsole(file=io.StringIO(), width=width, height=lines)
    console.print(view.drawn(lines, width))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_chosen_job_stays_chosen_when_others_come() -> None:
    view = View()
    view.update(jobs(3, 2, 1))
    view.press("j")
    view.update(jobs(5, 4, 3, 2, 1))

    assert view.chosen == "job_vid_2"
    view.update(jobs(5, 4))  # it is filtered away: the nearest is chosen
    assert view.chosen == "job_vid_4"


def test_keys_end_at_the_first_and_the_last_job() -> None:
    view = View()
    view.press("j")
    view.update(jobs(2, 1))
    for key in "kkjjj":
        view.press(key)
    assert view.chosen == "job_vid_1"


def test_a_cancel_is_asked_for_twice() -> None:
    view = View()
    view.update(jobs(1))

    assert view.press("c") is None
    assert "Cancel job_vid_1?" in drawn(view)
    assert view.press("j") is None
    assert view.press("y") is None, "an earlier question was answered"
    view.press("c")
    assert view.press("y") == "job_vid_1"


def test_a_final_job_is_not_asked_about() -> None:
    view = View()
    view.update(jobs(1, status="complete"))
    view.press("c")

    assert view.press("y") is None
    assert "nothing to cancel" in drawn(view)


def test_only_as_many_jobs_are_drawn_as_fit_and_the_chosen_is_among_them() -> None:
    view = View()
    view.update(jobs(*range(100, 0, -1)))
    for _ in range(70):
        view.press("j")

    text = drawn(view, lines=20)

    assert len(text.splitlines()) <= 20
    assert str(view.chosen) in text


def test_what_a_terminal_would_obey_is_shown_as_text() -> None:
    view = View()
    view.update(jobs(1, prompt="\x1b[2J[red]gone"))

    assert "\x1b[2J" not in drawn(view)
    assert "[red]gone" in drawn(view)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_narrow_terminal_shows_the_whole_question_and_the_chosen_job(width: int) -> None:
    ids = [f"job_vid_01kagw2r5v9m3c8n1x4z7b6t{n:02}" for n in range(30)]
    hostile = {"prompt": "\x1b[2J" * 40, "model": "[red]\x1bm" * 2}
    view = View()
    view.update([JOB | {"id": id_, "status": "processing", **hostile} for id_ in ids])
    for _ in range(20):
        view.press("j")
    view.press("c")

    text = drawn(view, lines=12, width=width)

    assert len(text.splitlines()) <= 12, "the terminal cuts the rest off"
    assert f"Cancel{ids[20]}?ycancelsit,anyotherkeynot" in "".join(text.split())
    assert "\x1b" not in text
    if width >= 40:
        assert text.count(ids[20][-4:]) == 2
        assert "processing  10" in text, "state and progress matter most"


@pytest.mark.parametrize(
    ("sent", "keys"),
    [("jf", ["j", "f"]), ("\x1b[A\x1bOBq", ["k", "j", "q"]), ("", ["q"]), ("\x03", ["q"])],
)
def test_arrows_are_keys(sent: str, keys: list[str]) -> None:
    assert keys_of(sent) == keys


def test_without_a_terminal_it_says_what_to_use(run: Run, api: FakeApi) -> None:
    ended = run("top", "--api-url", api.url)

    assert ended.code == 2
    assert "longtake list" in ended.err


def test_in_a_terminal_a_job_is_shown_and_cancelled(api: FakeApi, tmp_path: Path) -> None:
    api.answers = [(200, {"data": jobs(1), "status": "cancelled"})]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [Path(sys.executable).with_name("longtake"), "top", "--api-url", api.url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "LONGTAKE_DATA_DIR": str(tmp_path), "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        try:
            assert b"job_vid_1" in read_until(ours, b"job_vid_1")
            os.write(ours, b"cy")
            assert b"is cancelled" in read_until(ours, b"is cancelled")
            os.write(ours, b"q")
            read_until(ours, None)
            assert process.wait(60) == 0
        finally:
            process.kill()
    os.close(ours)

    assert [each.path for each in api.asked if each.method == "POST"] == [
        "/v1/video/generations/job_vid_1/cancel"
    ]


def read_until(terminal: int, word: bytes | None) -> bytes:
    """What is written to a terminal until the word, or its end, or nothing for a minute."""
    said = b""
    for _ in range(600):  # it draws ten times a second
        if not select.select([terminal], [], [], 60)[0]:
            break
        try:
            said += os.read(terminal, 4096)
        except OSError:  # how Linux tells a terminal's end
            break
        if word is not None and word in said:
            break
    return said
