"""What watching costs: memory for each operation, and row versions and WAL from claim to end.

The first part keeps operations that are not due for long, the second watches operations that run
for a minute, once silent and once with progress. A process watches, whose vendor is a function of
its own. Row versions are what PostgreSQL counts as inserted and updated, but for heartbeats; WAL is
counted without images of whole pages, which checkpoints decide.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.processes import Process
from benchmarks.stand import Stand

COUNTS = (10_000, 100_000)
#: Operations that are watched to their ends, and how long they run, in seconds.
OPERATIONS, SECONDS = 500, 60.0
#: Timeout of one part, in seconds.
_BOUND = 600.0
#: What is promised for an operation of a minute: row versions and bytes of WAL.
TARGETS = {"silent": (7, 3000), "progress": (14, 4500)}


@dataclass(frozen=True, slots=True)
class WatchersReport:
    """Rows by what was measured."""

    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        memory = Table(title="watchers: what is kept", title_justify="left")
        names = ("bytes_each", "take_seconds", "first_looks_seconds", "leave_seconds")
        for head in ("operations", "bytes each", "take s", "first looks s", "hand back s"):
            memory.add_column(head, justify="right")
        for count in COUNTS:
            row = self.rows[f"memory {count}"]
            memory.add_row(f"{count:,}", *(f"{row[name]:,.1f}" for name in names))
        written = Table(title=f"watchers: operations of {SECONDS:.0f} s", title_justify="left")
        for head in ("", "looks", "row versions", "at most", "WAL bytes", "at most"):
            written.add_column(head, justify="right")
        for name, (versions, wal) in TARGETS.items():
            row = self.rows[name]
            written.add_row(
                name,
                f"{row['looks_each']:.1f}",
                f"{row['versions_each']:.1f}",
                str(versions),
                f"{row['wal_each']:,.0f}",
                f"{wal:,}",
            )
        console.print(memory)
        console.print(written)

    def as_json(self) -> dict[str, Any]:
        return dict(self.rows)


def measure(stand: Stand) -> WatchersReport:
    """Both parts, each in a process of its own."""
    with psycopg.connect(stand.database_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("SELECT pg_reload_conf()")
    report = WatchersReport()
    for count in COUNTS:
        report.rows[f"memory {count}"] = _ask(stand, "memory", str(count))
    for name in TARGETS:
        report.rows[name] = _ask(stand, name, str(OPERATIONS), str(SECONDS))
    return report


def _ask(stand: Stand, *arguments: str) -> dict[str, float]:
    variables = {
        "RUNWAYML_API_SECRET": "key_benchmark",
        "LONGTAKE_WATCHED_OPERATIONS": str(max(COUNTS)),
    }
    environment = stand.environment(**variables)
    work = Process(
        "watched", "benchmarks.watched", *arguments, environment=environment, logs=stand.folder
    )
    with work:
        found: dict[str, float] = json.loads(work.line(within=_BOUND))
        return found
