"""`longtake logs JOB`: a job's lines of the logs and its events, in the order of time."""

import heapq
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer
from rich.text import Text

from cli import show
from cli.database import in_transaction
from cli.errors import Refused
from cli.options import ApiKey, ApiUrl, AsJson, connect
from models.database import Connection, fetch_ids
from settings import Settings, load

_PANEL = "Operation"
#: Longest line that is read, in bytes, and the most entries that are shown: the newest.
_LONGEST, _MOST = 2**20, 10_000
#: The name of the database's events, and of what the API tells, among the files' names.
EVENTS, API = "events", "api"
#: Of a line, shown in places of their own.
_PLACED = frozenset({"timestamp", "level", "event", "logger"})
_STYLES = {"warning": "yellow", "error": "red", "critical": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a log, or one event."""

    at: datetime
    #: The log's name without its ending, or EVENTS or API.
    source: str
    level: str
    event: str
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """By which lines are a job's."""

    ids: frozenset[str]
    #: Its sender may have chosen it, so it is looked for where requests are named alone: as another
    #: word of a line, such as its level, it would show the lines of everybody.
    request: str | None


def register(app: typer.Typer) -> None:
    app.command("logs", rich_help_panel=_PANEL)(logs)


def logs(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="Job id, as printed by submit.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]…",
            help="Logs to read, - for standard input; default: those of the local stack.",
        ),
    ] = None,
    *,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """A job's lines of all logs, and its events, in the order of time.

    Events come from the database, if one is configured, else from the API. Lines belong to the job
    that name it, one of its attempts, videos and webhooks, or the request that submitted it.
    """
    settings = load()
    given = files or sorted((settings.data_dir / "logs").glob("*.log*"))
    found, names = _events(settings, job_id, api_url, api_key)
    lines = heapq.nlargest(
        _MOST, (entry for file in given for entry in _lines(file, names)), key=lambda one: one.at
    )
    # The order of a log's own lines holds where their times are equal.
    entries = sorted((*found, *lines), key=lambda entry: entry.at)
    if as_json:
        show.as_json([_as_json(entry) for entry in entries])
        return
    for entry in entries:
        show.out.print(_line(entry), soft_wrap=True)
    if not given:
        show.say(f"No logs in {settings.data_dir / 'logs'}: name files, or - for standard input")


# -- events ---------------------------------------------------------------------------------------


def _events(
    settings: Settings, job_id: str, api_url: str | None, api_key: str | None
) -> tuple[list[Entry], Names]:
    """The job's events, and all that it is named by in the logs."""
    if settings.database_url and api_url is None:
        return in_transaction(lambda connection: _of_database(connection, job_id))
    with connect(api_url, api_key) as api:
        job = api.job(job_id)
    times = {name: value for name, value in job.items() if name.endswith("_at") and value}
    entries = [
        Entry(at=at, source=API, level="info", event=name)
        for name, value in times.items()
        if (at := _time(value)) is not None
    ]
    return entries, Names(ids=frozenset({job_id}), request=job.get("request_id"))


#: The names of all that a job has.
_NAMES = """
SELECT id FROM attempt WHERE job = %(job)s UNION ALL SELECT id FROM output WHERE job = %(job)s
UNION ALL SELECT id FROM delivery WHERE job = %(job)s
"""


async def _of_database(connection: Connection, job_id: str) -> tuple[list[Entry], Names]:
    ids = frozenset({job_id, *await fetch_ids(connection, _NAMES, {"job": job_id})})
    requests = await fetch_ids(connection, "SELECT request_id FROM job WHERE id = %s", (job_id,))
    cursor = await connection.execute(
        "SELECT at, kind, detail FROM event WHERE job = %s ORDER BY id DESC LIMIT %s",
        (job_id, _MOST),
    )
    entries = [
        Entry(at=row["at"], source=EVENTS, level="info", event=row["kind"], more=row["detail"])
        for row in await cursor.fetchall()
    ]
    if not (requests or entries):
        raise Refused(f"job {job_id!r} is not in the database")
    return entries, Names(ids=ids, request=requests[0] if requests else None)


# -- logs -----------------------------------------------------------------------------------------


def _lines(file: Path, names: Names) -> Iterator[Entry]:
    """The entries of a log that name the job. Raises Refused if it can't be read."""
    if str(file) == "-":
        yield from _read(sys.stdin.buffer, "stdin", names)
        return
    try:
        with file.open("rb") as opened:
            yield from _read(opened, file.name.partition(".")[0], names)
    except OSError as error:
        raise Refused(f"{file} can't be read: {error.strerror}") from error


def _read(lines: BinaryIO, source: str, names: Names) -> Iterator[Entry]:
    wanted = [name.encode() for name in (*names.ids, names.request) if name]
    while line := lines.readline(_LONGEST):
        # Most lines are not of the job: these are not parsed.
        if line[:1] == b"{" and any(name in line for name in wanted):
            entry = _entry(line, source, names)
            if entry is not None:
                yield entry


def _entry(line: bytes, source: str, names: Names) -> Entry | None:
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None  # cut off, or another program's
    if not isinstance(values, dict):
        return None
    is_request = names.request is not None and values.get("request_id") == names.request
    if not is_request and names.ids.isdisjoint(_texts(values.values())):
        return None
    at = _time(values.get("timestamp"))
    if at is None:
        return None
    more = {name: value for name, value in values.items() if name not in _PLACED}
    return Entry(
        at=at,
        source=source,
        level=str(values.get("level", "")),
        event=str(values.get("event", "")),
        more=more,
    )


def _texts(values: Iterable[object]) -> Iterator[str]:
    """The texts among values, and those in lists among them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (each for each in value if isinstance(each, str))


def _time(value: object) -> datetime | None:
    try:
        if isinstance(value, int | float):  # seconds, as other systems' views have them
            return datetime.fromtimestamp(value, UTC)
        at = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# -- showing --------------------------------------------------------------------------------------


def _line(entry: Entry) -> Text:
    """One line of the terminal: others' text has no line break, and the console no other effect."""
    said = "  ".join((entry.event, *(f"{name}={_plain(v)}" for name, v in entry.more.items())))
    return Text.assemble(
        (_written(entry.at), "dim"),
        f"  {entry.source:<13} ",
        (_one_line(said), _STYLES.get(entry.level, "")),
    )


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=repr).decode()


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        "at": _written(entry.at),
        "source": entry.source,
        "level": entry.level,
        "event": entry.event,
        **{name: value for name, value in entry.more.items() if name not in {"at", "source"}},
    }
