"""The examples as their readers run them: each one a process, beside one stack."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import httpx
import pytest

from tests.acceptance.test_stack import BOUND, Up, eventually, up
from tests.conformance.driving import JUDGES, present

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DJANGO = JUDGES / "django-backport/bin/python"
PROMPT = "A fox & a <hare> cross a frozen lake"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("examples")
    folder.chmod(0o711)
    with up(folder) as running:
        yield running


def variables(stack: Up, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "client"),
        "LONGTAKE_API_URL": stack.api,
        "LONGTAKE_API_KEY": (stack.folder / "dev-api-key").read_text().strip(),
        "LONGTAKE_BROKER_URL": stack.told["settings"]["broker_url"],
        "WEBHOOK_SECRET": "a shared secret of many words",
        **more,
    }


@contextmanager
def serving(
    stack: Up, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]
) -> Iterator[str]:
    """The address of an app that answers; `command` gets its port appended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as file, ExitStack() as ending:
        process = subprocess.Popen(
            [*command, port],
            env=variables(stack, PUBLIC_URL=url, **environment),
            stdout=file,
            stderr=file,
        )
        ending.callback(process.wait, BOUND)
        ending.callback(process.terminate)
        eventually(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, log.read_text()
        yield url


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=BOUND).is_success
    except httpx.TransportError:
        return False


def order_a_video(url: str) -> None:
    """Fill in the form, look at the page until it has a video, and fetch that."""
    with httpx.Client(base_url=url, follow_redirects=True, timeout=BOUND) as browser:
        form = browser.get("/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        hidden = {"csrfmiddlewaretoken": token[1]} if token else {}
        answer = browser.post("/videos", data={"prompt": PROMPT, **hidden})
        assert answer.is_success, answer.text

        page = str(answer.url)
        eventually(lambda: "<video" in browser.get(page).text)
        html = browser.get(page).text
        assert "A fox &amp; a &lt;hare&gt; cross" in html
        assert 'http-equiv="refresh"' not in html

        (source,) = re.findall(r'<video src="([^"]+)"', html)
        film = httpx.get(source.replace("&amp;", "&"), timeout=BOUND)
        assert film.content[4:8] == b"ftyp"
        assert "<video" in browser.get("/").text
        assert browser.post("/webhook", content=b"{}").status_code == 400


def test_the_fastapi_app_shows_the_video_of_its_webhook(stack: Up, tmp_path: Path) -> None:
    folder = EXAMPLES / "fastapi_app"
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "app:app", "--port"]
    with serving(stack, command, tmp_path / "log", {}) as url:
        order_a_video(url)


def test_the_django_app_shows_the_video_of_its_task(stack: Up, tmp_path: Path) -> None:
    manage = EXAMPLES / "django_app/manage.py"
    environment = {"DATABASE": str(tmp_path / "shop.sqlite3"), "PYTHONDONTWRITEBYTECODE": "1"}
    made = subprocess.run(
        [present(DJANGO), manage, "migrate", "--verbosity", "0"],
        env=variables(stack, PUBLIC_URL="http://127.0.0.1:1", **environment),
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert made.returncode == 0, made.stderr

    command = [str(DJANGO), str(manage), "runserver", "--noreload"]
    with serving(stack, command, tmp_path / "log", environment) as url:
        order_a_video(url)


def test_the_contact_sheet_has_a_frame_of_every_prompt(stack: Up, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text('A fox\n\n{"prompt": "A hare"}\nA lake in spring\n')

    ended = subprocess.run(
        [sys.executable, EXAMPLES / "contact_sheet.py", tmp_path / "out", "--prompts", prompts],
        env=variables(stack),
        capture_output=True,
        text=True,
        timeout=2 * BOUND,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 of 3 videos are on" in ended.stdout
    with av.open(tmp_path / "out/contact-sheet.png") as container:
        picture = next(container.decode(video=0)).reformat(format="rgb24")
    assert (picture.width, picture.height) == (640, 360)
    content, stride = bytes(picture.planes[0]), picture.planes[0].line_size
    shown = [content[stride * y + 3 * x :][:3] != b"\0\0\0" for y in (90, 270) for x in (160, 480)]
    assert shown == [True, True, True, False]
