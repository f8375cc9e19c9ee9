"""Terminal output: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from cli.terminal import SafeConsole

if TYPE_CHECKING:
    from cli.api import Json  # an HTTP client, for a word

#: Width of tables without a terminal, in columns: nothing is truncated for programs.
WIDE = 240

out = SafeConsole(highlight=False, width=None if sys.stdout.isatty() else WIDE)
err = SafeConsole(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDE)

#: Colours by job status.
STYLES = {
    "pending": "dim",
    "processing": "cyan",
    "complete": "green",
    "failed": "red",
    "cancelled": "yellow",
}
#: Maximum characters of a prompt in a table.
SHORT = 48


def say(line: str) -> None:
    """Print a line to standard error, unformatted: it may contain paths or user text."""
    err.print(line, markup=False, soft_wrap=True)


def result(line: str) -> None:
    """Print a line to standard output, unformatted."""
    out.print(line, markup=False, soft_wrap=True)


def as_json(value: Any) -> None:
    result(json.dumps(value, indent=2, ensure_ascii=False))


def job(found: Json) -> None:
    """Print one job, one field per line."""
    for name, value in _facts(found):
        out.print(f"[dim]{name:<11}[/]", end="")
        out.print(value, markup=False, soft_wrap=True)  # keep URLs on one line for copying


def jobs(found: Sequence[Json]) -> None:
    """Print jobs as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "status", "%", "model", "cost", "prompt"):
        table.add_column(name, no_wrap=True, justify="right" if name == "%" else "left")
    for each in found:
        table.add_row(
            each["id"],
            status(each),
            str(each["progress_percent"]),
            each["model"],
            money(cost(each)),
            Text(short(each["prompt"])),
        )
    out.print(table)


def status(found: Json) -> Text:
    return Text(found["status"], style=STYLES.get(found["status"], ""))


def cost(found: Json) -> float:
    """The cost, or the estimate while running, in US dollars."""
    return float(found["cost_usd"] if "cost_usd" in found else found["estimated_cost_usd"])


def money(usd: float) -> str:
    return f"${usd:.2f}"


def short(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"


def _facts(found: Json) -> list[tuple[str, Text | str]]:
    facts: list[tuple[str, Text | str]] = [
        ("id", found["id"]),
        ("status", status(found)),
        ("progress", f"{found['progress_percent']} % ({found['progress_source']})"),
        ("model", found["model"]),
        ("prompt", Text(_one_line(found["prompt"]))),
        ("video", f"{found['duration_seconds']} s, {found['size']}"),
        ("cost", f"{money(cost(found))}{'' if 'cost_usd' in found else ' (estimate)'}"),
    ]
    if found.get("gate"):
        facts.append(("gate", found["gate"]))
    if waiting := found.get("waiting"):
        facts.append(
            ("waiting", f"{waiting['code']} since {waiting['since']}: {waiting['message']}")
        )
    facts += [
        ("hop", f"{hop['from_model']} to {hop['to_model']} ({hop['code']})")
        for hop in found.get("hops", [])
    ]
    if found.get("error_message"):
        facts.append(("error", Text(_one_line(found["error_message"]), style="red")))
    if found.get("video_url"):
        facts.append(("video_url", found["video_url"]))
    return facts


def _one_line(text: str) -> str:
    """A line break would let a prompt write lines of its own among the facts."""
    return text.replace("\n", "\\n")
