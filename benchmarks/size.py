"""What a million finished jobs cost: each piece of work beside them, and its longest statement.

Times are PostgreSQL's own (`pg_stat_statements`); each piece of work is a process of its own, whose
peak memory is told beside that of PostgreSQL's processes.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.processes import START_BOUND, Meter, Process, Tree
from benchmarks.size_rows import fill
from benchmarks.size_work import WORKS
from benchmarks.stand import Stand
from stack.servers.postgres import EmbeddedPostgres

JOBS = 1_000_000
#: No statement may take longer, in milliseconds.
LONGEST_MS = 1000.0
#: Timeout of one piece of work, in seconds.
_BOUND = 1800.0
#: Days that are kept of the 60 days of jobs: everything, and a part.
_KEPT: Mapping[str, Mapping[str, str]] = {
    "prune": {
        "LONGTAKE_KEEP_EVENTS_DAYS": "30",
        "LONGTAKE_KEEP_JOBS_DAYS": "45",
        "LONGTAKE_KEEP_VIDEOS_DAYS": "40",
    }
}
_ALL_KEPT = {
    "LONGTAKE_KEEP_EVENTS_DAYS": "365",
    "LONGTAKE_KEEP_JOBS_DAYS": "365",
    "LONGTAKE_KEEP_VIDEOS_DAYS": "365",
}
_MB = 10**6
_KEY = "key_for_the_benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What PostgreSQL tells of a statement: how often, and milliseconds."""

    query: str
    calls: int
    max_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One piece of work."""

    name: str
    #: What it says that it did.
    done: str
    seconds: float
    statements: int
    total_ms: float
    longest: Statement
    #: In bytes, of its process and of PostgreSQL's.
    peak_memory: int
    database_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeReport:
    """A row for each piece of work."""

    jobs: int
    bytes: int
    rows: Sequence[Row] = field(default_factory=tuple)

    def show(self, console: Console) -> None:
        title = f"size: {self.jobs:,} jobs in a database of {self.bytes / 10**9:.1f} GB"
        table = Table(title=title, title_justify="left")
        table.add_column("")
        heads = ("longest ms", "all ms", "statements", "wall s", "MB", "PostgreSQL MB", "did")
        for heading in heads:
            table.add_column(heading, justify="right", overflow="fold")
        for row in self.rows:
            table.add_row(
                *(row.name, f"{row.longest.max_ms:,.1f}", f"{row.total_ms:,.0f}"),
                *(f"{row.statements:,}", f"{row.seconds:.1f}", f"{row.peak_memory / _MB:,.0f}"),
                *(f"{row.database_memory / _MB:,.0f}", row.done),
            )
        console.print(table)
        for row in self.rows:
            if row.longest.max_ms > LONGEST_MS:
                words = " ".join(row.longest.query.split())[:600]
                console.print(f"{row.name}: {words}", markup=False, highlight=False)
        longest = max(row.longest.max_ms for row in self.rows)
        verdict = "met" if longest <= LONGEST_MS else "NOT MET"
        console.print(
            f"longest statement: {longest:,.0f} ms, target at most {LONGEST_MS:,.0f}: {verdict}",
            highlight=False,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(stand: Stand, *, jobs: int = JOBS) -> SizeReport:
    """Fill the database with `jobs` finished jobs and do every piece of work once."""
    stand = _watched(stand)
    began = time.perf_counter()
    fill(stand.database_url, jobs=jobs)
    print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
    with psycopg.connect(stand.database_url) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert found is not None
        size = int(found[0])
    return SizeReport(jobs=jobs, bytes=size, rows=[_row(stand, name) for name in WORKS])


def _watched(stand: Stand) -> Stand:
    """The stand with a PostgreSQL that keeps count of its statements."""
    with psycopg.connect(stand.database_url, autocommit=True) as connection:
        for setting in (
            "shared_preload_libraries = 'pg_stat_statements'",
            "max_wal_size = '4GB'",
        ):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        connection.execute("CREATE EXTENSION pg_stat_statements")
    server = EmbeddedPostgres(stand.folder)
    server.stop()
    running = server.start()
    return replace(stand, database_url=running.url, database=Tree(running.pid))


def _row(stand: Stand, name: str) -> Row:
    with psycopg.connect(stand.database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_statements_reset()")
        kept = _KEPT.get(name, _ALL_KEPT)
        environment = stand.environment(RUNWAYML_API_SECRET=_KEY, **kept)
        arguments = ("benchmarks.size_work", name)
        with Process("work", *arguments, environment=environment, logs=stand.folder) as process:
            meter = Meter(stand.database, stand.database)
            with meter:
                answer = json.loads(process.line(within=START_BOUND + _BOUND))
        statements = _statements(connection)
    row = Row(
        name=name,
        done=answer["done"],
        seconds=meter.seconds,
        statements=sum(each.calls for each in statements),
        total_ms=sum(each.total_ms for each in statements),
        longest=max(statements, key=lambda each: each.max_ms),
        peak_memory=answer["peak_memory"],
        database_memory=meter.peak_memory,
    )
    print(f"{name}: {row.longest.max_ms:.0f} ms, {row.seconds:.1f} s: {row.done}", flush=True)
    return row


def _statements(connection: psycopg.Connection[Any]) -> list[Statement]:
    found = connection.execute(
        """
        SELECT query, calls, max_exec_time, total_exec_time FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND query NOT LIKE '%pg_stat_statements%'
        """
    ).fetchall()
    return [
        Statement(query=query, calls=calls, max_ms=longest, total_ms=total)
        for query, calls, longest, total in found
    ] or [Statement(query="", calls=0, max_ms=0.0, total_ms=0.0)]
