"""How answers look at a terminal: results on standard output, everything else on standard error."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.api import Json

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

#: Colours of the public states.
STYLES = {
    "pending": "dim",
    "processing": "cyan",
    "complete": "green",
    "failed": "red",
    "cancelled": "yellow",
}
#: Characters of a prompt in a table.
SHORT = 48


def as_json(value: Any) -> None:
    out.print(json.dumps(value, indent=2, ensure_ascii=False), markup=False)


def job(found: Json) -> None:
    """One job, a field a line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _facts(found):
        table.add_row(name, value)
    out.print(table)


def jobs(found: Sequence[Json]) -> None:
    """Many jobs, one a line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "status", "%", "model", "cost", "prompt"):
        table.add_column(name, no_wrap=name != "prompt", justify="right" if name == "%" else "left")
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
    """What it cost, or what it is estimated to cost while it runs; in US dollars."""
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
        ("prompt", Text(found["prompt"])),
        ("video", f"{found['duration_seconds']} s, {found['size']}"),
        ("cost", f"{money(cost(found))}{'' if 'cost_usd' in found else ' (estimate)'}"),
    ]
    if found.get("error_message"):
        facts.append(("error", Text(found["error_message"], style="red")))
    if found.get("video_url"):
        facts.append(("video_url", found["video_url"]))
    return facts
