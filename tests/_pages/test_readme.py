"""The README's pictures, taken of jobs that real prompts made: `make pictures` keeps them."""

import os
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import terminal
from conftest import COMMAND, PICTURES, ROOT, Stack, Visit
from playwright.sync_api import Browser, expect
from terminal import Frame

#: From VBench's prompts, as the demo has them.
PROMPTS = (
    ("a cat wearing sunglasses and working as a lifeguard at a pool", "runway-gen3"),
    ("a boat sailing leisurely along the Seine River, in super slow motion", "veo-3"),
    ("a panda drinking coffee in a cafe in Paris", "luma"),
    ("a shark swimming in clear Caribbean ocean", "runway-gen3"),
    ("campfire at night in a snowy forest with starry sky", "kling"),
    ("gwen stacy reading a book, black and white", "veo-3"),
)
RUNNING = (
    "a drone view of celebration with Christmas tree and fireworks",
    "snow rocky mountains peaks canyon, the sun rises behind them",
)
LINES_OF_TOP = 16
KEPT: Path = ROOT / "docs/pictures" if os.environ.get("LONGTAKE_KEEP_PICTURES") else PICTURES

#: Draws what a command prints; pictures ask no other host for fonts.
DRAW = """
import re, subprocess, sys
from pathlib import Path
from rich.console import Console
from rich.text import Text
command, picture = sys.argv[1:]
asked = [command, "list", "--limit", "8"]
said = subprocess.run(asked, capture_output=True, encoding="utf-8", check=True)
console = Console(record=True, width=126, file=open("/dev/null", "w"))
console.print(Text("$ longtake list --limit 8", style="bold"))
console.print(Text.from_ansi(said.stdout))
drawn = console.export_svg(title="longtake")
Path(picture).write_text(re.sub(r"@font-face \\{.*?\\}", "", drawn, flags=re.DOTALL))
"""


@pytest.fixture(scope="module")
def folder() -> Path:
    KEPT.mkdir(parents=True, exist_ok=True)
    return KEPT


def test_the_jobs_and_one_of_them(stack: Stack, visit: Visit, folder: Path) -> None:
    jobs = [
        stack.submit(prompt, model=model, duration_seconds=8 if model == "veo-3" else 5)
        for prompt, model in PROMPTS
    ]
    for job in jobs:
        stack.ended(job)
    page = visit(viewport={"width": 1280, "height": 800})
    for prompt in RUNNING:
        stack.submit(prompt)
    page.goto("/ui/jobs?limit=20")
    expect(page.locator(".s-processing").first).to_be_visible()
    page.screenshot(path=folder / "jobs.png")
    page.goto(f"/ui/jobs/{jobs[0]}")
    expect(page.locator("video").first).to_be_visible()
    page.locator("video").first.evaluate(
        "async video => { video.currentTime = 2;"
        " await new Promise(seen => { video.onseeked = seen; });"
        " video.controls = false; }"  # they show that it is loading until it has been played
    )
    page.screenshot(path=folder / "job.png")


def test_the_command_line(stack: Stack, folder: Path) -> None:
    """What `longtake list` prints, as rich draws terminals."""
    env = {**stack.env, "COLUMNS": "110", "FORCE_COLOR": "1"}
    python = COMMAND.parent / "python"
    picture = folder / "list.svg"
    subprocess.run([python, "-c", DRAW, COMMAND, picture], env=env, timeout=120, check=True)

    assert "longtake list" in picture.read_text().replace("&#160;", " ")


def test_longtake_top_is_recorded(stack: Stack, browser: Browser, folder: Path) -> None:
    for prompt in (*RUNNING, *(prompt for prompt, _ in PROMPTS)):
        stack.submit(prompt)
    keys = [(2.0, "j"), (2.8, "j"), (3.6, "j"), (5.0, "f"), (6.5, "f"), (9.0, "f"), (11.0, "q")]
    said = terminal.record([str(COMMAND), "top"], stack.env, lines=LINES_OF_TOP, keys=keys)
    film = terminal.frames(said, first="longtake top", lines=LINES_OF_TOP)

    keep(film, folder / "top.svg", title="longtake top")
    watch(film, folder / "top.svg", browser)


@pytest.mark.skipif(KEPT == PICTURES, reason="`make pictures` takes it: a whole demo")
def test_the_demo_is_recorded(browser: Browser, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="longtake-film-") as place:
        Path(place).chmod(0o711)
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        data = Path(place).resolve() / ".longtake"
        command = [str(COMMAND), "demo", "--jobs", "16"]
        said = terminal.record(command, env | {"LONGTAKE_DATA_DIR": str(data)})
    # As if it had been run in its own folder.
    told = [(at, chunk.replace(f"{data.parent}/".encode(), b"")) for at, chunk in said]
    film = terminal.frames(told, first="longtake demo", speed=3)

    assert any("jobs are complete" in run[1] for row in film[-1].screen for run in row)
    keep(film, folder / "demo.svg", title="longtake demo, three times as fast")
    watch(film, folder / "demo.svg", browser)


def keep(film: list[Frame], picture: Path, *, title: str) -> None:
    """Write the recording, which must be small and contain no path of this machine."""
    drawn = terminal.svg(film, title=title)
    ET.fromstring(drawn)  # noqa: S314 - our own
    assert len({frame.screen for frame in film}) > 5
    assert len(drawn) < 400_000
    places = {str(ROOT), tempfile.gettempdir(), str(Path.home())} - {"/"}
    assert [place for place in places if f"{place}/" in drawn] == []
    picture.write_text(drawn)


def watch(film: list[Frame], picture: Path, browser: Browser) -> None:
    """The browser shows each frame at its time, and with reduced motion only the last one."""
    shown = "-new DOMMatrix(getComputedStyle(document.querySelector('.film')).transform).e"
    begins = [sum(each.seconds for each in film[:number]) for number in range(len(film))]
    with browser.new_context(reduced_motion="no-preference") as context:
        page = context.new_page()
        page.goto(picture.as_uri())
        width = page.evaluate("document.documentElement.viewBox.baseVal.width")
        for number in {0, len(film) // 2, len(film) - 1}:
            page.evaluate(
                "seconds => { const [film] = document.getAnimations(); film.pause();"
                " film.currentTime = seconds * 1000; }",
                begins[number] + film[number].seconds / 2,
            )
            assert page.evaluate(shown) == pytest.approx(number * width, abs=1)
            page.screenshot(path=PICTURES / f"{picture.stem}-{number}.png")
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(picture.as_uri())
        assert page.evaluate("document.getAnimations().length") == 0
        assert page.evaluate(shown) == pytest.approx((len(film) - 1) * width, abs=1)
