"""The README's pictures, taken of jobs that real prompts made: `make pictures` keeps them."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, PICTURES, ROOT, Stack, Visit
from playwright.sync_api import expect

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
        " await new Promise(seen => { video.onseeked = seen; }); }"
    )
    page.screenshot(path=folder / "job.png")


def test_the_command_line(stack: Stack, folder: Path) -> None:
    """What `longtake list` prints, as rich draws terminals."""
    env = {**stack.env, "COLUMNS": "110", "FORCE_COLOR": "1"}
    python = COMMAND.parent / "python"
    picture = folder / "list.svg"
    subprocess.run([python, "-c", DRAW, COMMAND, picture], env=env, timeout=120, check=True)

    assert "longtake list" in picture.read_text().replace("&#160;", " ")
