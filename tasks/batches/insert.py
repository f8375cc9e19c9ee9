"""Copies the rows of a batch's jobs into the database: a few statements for hundreds of lines."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import orjson

from models import due, pictures
from models.database import Connection
from models.pictures import SealedPicture
from models.records import Json, columns
from models.rows.attempts import NewAttempt
from models.rows.jobs import NewJob
from models.rows.money import Account
from models.rows.outputs import NewOutput
from models.state import AttemptState, JobState, OutputState
from models.verbs import What
from tasks.making import NewRows

#: When a held line may be sent, unless it is released.
_HELD_FOR: Final = timedelta(days=3653)

#: The tables in the order of their references, each with the columns that are written.
_TABLES: Final = {
    "job": f"{columns(NewJob)}, progress_source, deadline_at, start_by",
    "attempt": columns(NewAttempt),
    "output": columns(NewOutput),
    "event": "job, kind",
    "due": "what, id, lane, tenant, at",
    "ledger_entry": "entry_set, account, amount_micros, tenant, api_key, app_id, gate, job",
    **pictures.STAGED,
}
_JOB: Final = attrgetter(*(each.name for each in fields(NewJob)))
_ATTEMPT: Final = attrgetter(*(each.name for each in fields(NewAttempt)))
_OUTPUT: Final = attrgetter(*(each.name for each in fields(NewOutput)))
#: What PostgreSQL's text format spells otherwise.
_SPECIAL: Final = re.compile(r"[\\\n\r\t]")
_SPELLED: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(slots=True)
class Rows:
    """Rows of some lines, as the text that is copied."""

    #: The transaction's time, which the database gives all its rows.
    now: datetime
    is_held: bool
    texts: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in _TABLES})

    def add(self, new: NewRows, *, submit_at: str) -> datetime:
        """Add a line's rows, whose attempts are due at `submit_at`; returns its deadline."""
        job, texts = new.job, self.texts
        starts = self.now if job.run_at is None else max(self.now, job.run_at)
        deadline = starts + timedelta(seconds=new.deadline_seconds)
        start_by = (
            None if new.start_within is None else starts + timedelta(seconds=new.start_within)
        )
        texts["job"].append(_row((*_JOB(job), "estimated", deadline, start_by)))
        texts["attempt"].extend([_row(_ATTEMPT(each)) for each in new.attempts])
        texts["output"].extend([_row(_OUTPUT(each)) for each in new.outputs])
        texts["event"].append(f"{job.id}\tpending\n")
        tenant = _text(job.tenant)
        texts["due"].extend(
            f"{What.SUBMIT}\t{each.id}\t{_text(each.account)}\t{tenant}\t{submit_at}\n"
            for each in new.attempts
        )
        texts["staged_picture_use"].extend(
            [_row((job.id, name, picture)) for name, picture in new.pictures.items()]
        )
        lane = due.HELD_LANE if self.is_held else due.NO_LANE
        ends_at = deadline if start_by is None else min(start_by, deadline)
        texts["due"].append(f"{What.EXPIRE}\t{job.id}\t{lane}\t{tenant}\t{_time(ends_at)}\n")
        if amount := job.reserved_micros:
            whose = _row((job.tenant, job.api_key, job.app_id, job.gate, job.id))
            entry_set = f"reserve {job.id}"
            texts["ledger_entry"] += (
                f"{entry_set}\t{Account.AVAILABLE}\t-{amount}\t{whose}",
                f"{entry_set}\t{Account.RESERVED}\t{amount}\t{whose}",
            )
        return deadline

    def add_picture(self, picture: SealedPicture) -> None:
        """Add a picture that none of the batch's lines before had."""
        self.texts["staged_picture"].append(_row((picture.id, picture.sealed, picture.bytes)))

    def submit_at(self, *, line: int, head_start: float, run_at: datetime | None = None) -> str:
        """In the order of the lines, which are less than the head starts apart."""
        if self.is_held:
            at = self.now + _HELD_FOR
        elif run_at is not None and run_at > self.now:
            at = run_at
        else:
            at = self.now - timedelta(seconds=head_start, microseconds=-line)
        return _time(at)

    async def copy(self, connection: Connection) -> None:
        """Write all of them; pictures go to staging tables."""
        if self.texts["staged_picture_use"]:
            await pictures.stage(connection)
        for name, written in _TABLES.items():
            if text := "".join(self.texts[name]):
                statement = f"COPY {name} ({written}) FROM STDIN"
                async with connection.cursor().copy(statement) as copy:
                    await copy.write(text)


def _row(values: Iterable[Any]) -> str:
    return "\t".join([_CELLS[type(value)](value) for value in values]) + "\n"


def cell(value: Any) -> str:
    """A value as PostgreSQL's text format spells it."""
    return _CELLS[type(value)](value)


def _text(value: str) -> str:
    return _SPECIAL.sub(_spelled, value) if _SPECIAL.search(value) else value


def _time(value: datetime) -> str:
    """In UTC: Python has offsets that PostgreSQL does not take."""
    return value.astimezone(UTC).isoformat()


def _object(value: Json) -> str:
    try:
        return _text(orjson.dumps(value).decode())
    except TypeError:  # an integer above 64 bits, in metadata
        return _text(json.dumps(value))


def _spelled(found: re.Match[str]) -> str:
    return _SPELLED[found[0]]


#: How a value is spelled in PostgreSQL's text format, by its type.
_CELLS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "\\N",
    str: _text,
    int: str,
    float: str,
    bytes: lambda value: f"\\\\x{value.hex()}",
    dict: _object,
    datetime: _time,
    **dict.fromkeys((What, Account, JobState, AttemptState, OutputState), str),
}
