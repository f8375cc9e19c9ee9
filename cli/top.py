"""`longtake top`: the jobs in a terminal, kept up to date, with keys to move, filter and cancel."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli import show
from cli.api import Api, Json
from cli.errors import CommandError, Refused
from cli.options import ApiKey, ApiUrl, connect
from cli.terminal import plain
from cli.waiting import FINAL

_PANEL = "Jobs"
#: Seconds between two looks, and for which a key is waited for.
LOOK, KEY = 1.0, 0.1
#: Jobs of one look, and lines that are not jobs.
_MOST, _AROUND = 100, 5
#: Columns, and how wide a terminal is, at least, that shows them.
_COLUMNS = {"id": 0, "status": 0, "%": 0, "model": 50, "cost": 50, "prompt": 40}
#: From so many columns on, ids are whole; of others so many characters of the end are shown.
_WHOLE_IDS, _ID_END = 90, 8
#: What `f` goes through.
_FILTERS = (None, "pending", "processing", "complete", "failed", "cancelled")
#: What terminals send for the arrows, in both of their modes.
_KEYS = {"\x1b[A": "k", "\x1b[B": "j", "\x1bOA": "k", "\x1bOB": "j", "\x03": "q"}
_HELP = "↑↓ move   f filter   c cancel   q quit"


@dataclass(slots=True)
class View:
    """What is shown, and what a key does to it."""

    jobs: list[Json] = field(default_factory=list)
    #: The chosen job's id: it stays chosen when others come before it.
    chosen: str | None = None
    filter: int = 0
    #: The job that is to be cancelled if the next key is `y`.
    asks: str | None = None
    said: str = ""
    is_over: bool = False

    @property
    def status(self) -> str | None:
        return _FILTERS[self.filter]

    @property
    def place(self) -> int:
        ids = [job["id"] for job in self.jobs]
        return ids.index(self.chosen) if self.chosen in ids else 0

    def update(self, jobs: list[Json]) -> None:
        place = self.place
        self.jobs = jobs
        if jobs and self.chosen not in {job["id"] for job in jobs}:
            self.chosen = jobs[min(place, len(jobs) - 1)]["id"]

    def press(self, key: str) -> str | None:
        """Take a key; returns the id of the job that is to be cancelled now, if one is."""
        asked, self.asks = self.asks, None
        if asked is not None:
            self.said = "" if key == "y" else "Not cancelled"
            return asked if key == "y" else None
        match key:
            case "q":
                self.is_over = True
            case "j" | "k" if self.jobs:
                place = self.place + (1 if key == "j" else -1)
                self.chosen = self.jobs[max(0, min(place, len(self.jobs) - 1))]["id"]
            case "f":
                self.filter = (self.filter + 1) % len(_FILTERS)
            case "c" if self.jobs:
                self._ask(self.jobs[self.place])
        return None

    def _ask(self, job: Json) -> None:
        if job["status"] in FINAL:
            self.said = f"{job['id']} is {job['status']}: there is nothing to cancel"
        else:
            self.asks, self.said = job["id"], f"Cancel {job['id']}? y cancels it, any other key not"

    def drawn(self, lines: int, width: int) -> RenderableType:
        """The view for a terminal of so many lines and columns: those around the chosen job.

        What is said, which may be a question, comes before the jobs: it is never cut off.
        """
        said = plain(self.said or _HELP).replace("\n", " ")
        room = max(1, lines - _AROUND - len(said) // width)
        first = max(0, min(self.place - room // 2, len(self.jobs) - room))
        columns = [name for name, least in _COLUMNS.items() if width >= least]
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        for name in columns:
            table.add_column(
                name,
                no_wrap=True,
                justify="right" if name == "%" else "left",
                ratio=1 if name == "prompt" else None,  # it takes what the others leave
            )
        for job in self.jobs[first : first + room]:
            shown = _shown(job, width)
            table.add_row(
                *(shown[name] for name in columns),
                style="reverse" if job["id"] == self.chosen else "",
            )
        head = f"longtake top   {self.status or 'all'}   {len(self.jobs)} newest jobs"
        return Group(
            Text(head, style="bold", no_wrap=True, overflow="ellipsis"), Text(said), Text(), table
        )


def _shown(job: Json, width: int) -> dict[str, Text]:
    """A job's cells; characters that are shown as several are so before they are measured."""
    id_ = job["id"]
    if width < _WHOLE_IDS and len(id_) > _ID_END + 1:
        id_ = f"…{id_[-_ID_END:]}"  # the beginnings of ids are alike
    return {
        "id": Text(plain(id_)),
        "status": show.status(job),
        "%": Text(str(job["progress_percent"])),
        "model": Text(plain(job["model"])),
        "cost": Text(show.money(show.cost(job))),
        "prompt": Text(plain(show.short(job["prompt"]))),
    }


def register(app: typer.Typer) -> None:
    app.command("top", rich_help_panel=_PANEL)(top)


def top(*, api_url: ApiUrl = None, api_key: ApiKey = None) -> None:
    """The newest jobs in the terminal, kept up to date; keys move, filter and cancel."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused("top needs a terminal; `longtake list` prints jobs anywhere")
    with connect(api_url, api_key) as api:
        view = View()
        _look(api, view)  # what is wrong with the address or the key is told before the screen
        with _keys(), Live(console=show.out, screen=True, auto_refresh=False) as live:
            _run(api, view, live)


def _run(api: Api, view: View, live: Live) -> None:
    looked = time.monotonic()
    while not view.is_over:
        size = show.out.size
        live.update(view.drawn(size.height, size.width), refresh=True)
        before = view.status
        for key in _pressed(KEY):
            if job := view.press(key):
                _try(view, lambda job=job: _cancel(api, view, job))  # type: ignore[misc]
        if view.status != before or time.monotonic() - looked >= LOOK:
            _try(view, lambda: _look(api, view))
            looked = time.monotonic()


def _try(view: View, work: Callable[[], None]) -> None:
    """A server that is away for a while does not end the view."""
    try:
        work()
    except CommandError as error:
        view.said = str(error)


def _look(api: Api, view: View) -> None:
    view.update(api.jobs(limit=_MOST, status=view.status)["data"])


def _cancel(api: Api, view: View, job: str) -> None:
    view.said = f"{job} is {api.cancel(job)['status']}"


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come one by one and unseen, until the block ends."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _pressed(seconds: float) -> list[str]:
    """The keys that were pressed meanwhile; an arrow is one."""
    terminal = sys.stdin.fileno()
    if not select.select([terminal], [], [], seconds)[0]:
        return []
    return keys_of(os.read(terminal, 64).decode(errors="replace"))


def keys_of(text: str) -> list[str]:
    """The keys in what a terminal sent."""
    found = []
    while text:
        arrow = next((each for each in _KEYS if text.startswith(each)), text[0])
        found.append(_KEYS.get(arrow, arrow))
        text = text[len(arrow) :]
    return found or ["q"]  # an end of input
