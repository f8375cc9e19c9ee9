"""How long the server takes for each page, with 100,000 jobs in the tables."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any, Final

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from api.app import create_app
from benchmarks.size_rows import MOST, fill
from benchmarks.stand import Stand
from logs import configure
from models.page_sessions import create_link, open_session
from settings import load

JOBS: Final = 100_000
#: What each page is to take at most, in milliseconds.
TARGET_MS: Final = 100.0
#: Requests for each page in a round.
_REQUESTS: Final = 20
#: Pages, whose `{job}` is one that is complete and `{middle}` one in the middle of all; those of an
#: admin are of all tenants.
PATHS: Final = (
    "/ui/overview",
    "/ui/jobs",
    "/ui/jobs?status=failed",
    "/ui/jobs?status=processing",
    "/ui/jobs?app_id=rare-app",
    "/ui/jobs?app_id=nobodys",
    "/ui/jobs?text=nobodys+words",
    "/ui/jobs?after={middle}",
    "/ui/jobs/{job}",
    "/ui/batches",
    "/ui/webhooks",
    "/ui/webhooks?status=exhausted",
    "/ui/letters",
    "/ui/models",
    "/ui/models/veo3.1",
    "/ui/gates",
    "/ui/usage",
    "/ui/usage?group_by=model",
)
#: Those of operators alone; calling the workers is left out, which waits for them.
OPERATORS: Final = ("/ui/providers", "/ui/providers/runway")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageReading:
    """One page's milliseconds, sorted."""

    path: str
    of_admin: bool
    bytes: int
    milliseconds: Sequence[float]

    @property
    def p95(self) -> float:
        return quantiles(self.milliseconds, n=20)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PagesReport:
    """A row for each page, of a tenant and of an admin."""

    jobs: int
    readings: Sequence[PageReading]

    def show(self, console: Console) -> None:
        title = f"pages: {self.jobs:,} jobs, all of the last day"
        table = Table(title=title, title_justify="left")
        table.add_column("page")
        for heading in ("for", "median ms", "95 % ms", "longest ms", "kB"):
            table.add_column(heading, justify="right")
        for each in self.readings:
            numbers = (median(each.milliseconds), each.p95, each.milliseconds[-1])
            table.add_row(
                each.path,
                "admin" if each.of_admin else "tenant",
                *(f"{number:.1f}" for number in numbers),
                f"{each.bytes / 1000:.0f}",
            )
        console.print(table)
        slow = [each.path for each in self.readings if each.p95 > TARGET_MS]
        verdict = f"NOT MET by {', '.join(slow)}" if slow else "met"
        console.print(f"95 % of each page within {TARGET_MS:g} ms: {verdict}", highlight=False)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class _Silent:
    """Sends no hints."""

    def nudge(self, what: object, lane: object) -> None:
        pass

    def close(self) -> None:
        pass


def measure(stand: Stand, *, rounds: int) -> PagesReport:
    """Ask for every page of the API's own application, one after the other."""
    configure("CRITICAL")
    fill(stand.database_url, jobs=JOBS, days=0.9)
    with psycopg.connect(stand.database_url) as connection:
        row = connection.execute(
            "SELECT id, (SELECT id FROM job WHERE tenant = %(most)s ORDER BY id OFFSET %(half)s "
            "LIMIT 1) AS middle FROM job WHERE state = 'complete' AND tenant = %(most)s "
            "ORDER BY job.id DESC LIMIT 1",
            {"most": MOST, "half": JOBS // 3},
        ).fetchone()
        assert row is not None
    return asyncio.run(_measured(stand, rounds=rounds, job=row[0], middle=row[1]))


async def _measured(stand: Stand, *, rounds: int, job: str, middle: str) -> PagesReport:
    app = create_app(load(stand.environment()), hinter=_Silent)
    readings = []
    async with app.router.lifespan_context(app):
        for of_admin in (False, True):
            cookie = await _signed_in(app.state.front.engine.database, of_admin=of_admin)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport,
                base_url="http://127.0.0.1",
                headers={"Cookie": f"longtake_ui={cookie}"},
            ) as http:
                for path in (*PATHS, *(OPERATORS if of_admin else ())):
                    url = path.format(job=job, middle=middle)
                    took, size = await _asked(http, url, times=rounds * _REQUESTS)
                    readings.append(
                        PageReading(path=path, of_admin=of_admin, bytes=size, milliseconds=took)
                    )
    return PagesReport(jobs=JOBS, readings=readings)


async def _signed_in(database: Any, *, of_admin: bool) -> str:
    cookie = secrets.token_urlsafe(32)
    link = await database.run(lambda c: create_link(c, MOST, is_admin=of_admin))
    await database.run(lambda c: open_session(c, link, cookie))
    return cookie


async def _asked(http: httpx.AsyncClient, url: str, *, times: int) -> tuple[list[float], int]:
    """Milliseconds of so many answers, after one that warms up, and an answer's size in bytes."""
    answer = await http.get(url)
    assert answer.status_code == httpx.codes.OK, answer.text
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await http.get(url)
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took), len(answer.content)
