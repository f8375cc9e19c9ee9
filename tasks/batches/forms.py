"""Forms: the text of all rows of lines that share a template, with places for a line's own."""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from models.ids import new_id, new_marker
from models.records import Json, as_text
from models.request import VideoRequest
from tasks.batches.insert import Rows, cell
from tasks.batches.templates import OWN_FIELDS, Found
from tasks.engine import Engine
from tasks.making import Names, NewRows, rows_of, sealed_webhook

#: The job's columns in which lines with one form may differ.
_OWN_COLUMNS: Final = (
    *("id", "request_id", "retry_of", "batch_line", "custom_id"),
    *("prompt", "request", "metadata_text", "scene", "webhook"),
)
#: Maximum forms of a batch; rows of other lines are made one by one.
_MOST: Final = 500
#: A place in the text: no text of a row contains NUL.
_PLACE: Final = re.compile("\0([a-z_0-9]+)\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The text of one line's rows by table, in which `%(name)s` stands for a line's own values."""

    texts: dict[str, str]
    #: The request as it is stored, without the line's own fields.
    request: Json
    attempts: int
    outputs: int
    head_start: float
    #: That of all its lines.
    deadline: datetime

    @classmethod
    def of(cls, new: NewRows, *, now: datetime, is_held: bool) -> "Form":
        """The form of a line's rows and of those like them."""
        own: dict[str, Any] = {name: _place(name) for name in _OWN_COLUMNS}
        names = {each.id: _place(f"attempt_{n}") for n, each in enumerate(new.attempts)}
        blank = replace(
            new,
            job=replace(new.job, **own),
            attempts=[
                replace(each, id=names[each.id], job=own["id"], marker=_place(f"marker_{n}"))
                for n, each in enumerate(new.attempts)
            ],
            outputs=[
                replace(each, id=_place(f"output_{n}"), job=own["id"], attempt=names[each.attempt])
                for n, each in enumerate(new.outputs)
            ],
        )
        rows = Rows(now=now, is_held=is_held)
        deadline = rows.add(blank, submit_at=_place("submit_at"))
        return cls(
            texts={
                table: _PLACE.sub(r"%(\1)s", "".join(texts).replace("%", "%%"))
                for table, texts in rows.texts.items()
            },
            request={k: v for k, v in new.job.request.items() if k not in OWN_FIELDS},
            attempts=len(new.attempts),
            outputs=len(new.outputs),
            head_start=new.head_start,
            deadline=deadline,
        )

    def fill(
        self, engine: Engine, request: VideoRequest, scene: Json, names: Names, rows: Rows
    ) -> None:
        """Add the rows of a line of this form."""
        given = {name: getattr(request, name) for name in OWN_FIELDS}
        own: dict[str, Any] = {
            "id": names.job,
            "request_id": new_id("req_vid"),
            "retry_of": names.retry_of,
            "batch_line": names.line,
            "custom_id": names.custom_id,
            "prompt": request.prompt,
            "request": self.request
            | {name: value for name, value in given.items() if value is not None},
            "metadata_text": as_text(request.metadata),
            "scene": engine.vault.seal_json(scene),
            "webhook": sealed_webhook(engine, request, names),
        }
        cells = {name: cell(value) for name, value in own.items()}
        cells["submit_at"] = rows.submit_at(line=names.line or 0, head_start=self.head_start)
        for n in range(self.attempts):
            cells[f"attempt_{n}"] = new_id("att")
            cells[f"marker_{n}"] = new_marker()
        for n in range(self.outputs):
            cells[f"output_{n}"] = new_id("out")
        for table, text in self.texts.items():
            if text:
                rows.texts[table].append(text % cells)


@dataclass(slots=True, kw_only=True)
class Forms:
    """The forms of one batch's lines, by what decides all their other values."""

    engine: Engine
    _known: dict[Hashable, Form] = field(default_factory=dict)

    def add(self, request: VideoRequest, found: Found, names: Names, rows: Rows) -> datetime:
        """Add a line's rows; returns its deadline."""
        if form := self._known.get(found.key):
            form.fill(self.engine, request, found.choice.scene, names, rows)
            return form.deadline
        new = rows_of(self.engine, request, found.choice, names)
        if found.key is not None and len(self._known) < _MOST:
            self._known[found.key] = Form.of(new, now=rows.now, is_held=rows.is_held)
        submit_at = rows.submit_at(
            line=names.line or 0, head_start=new.head_start, run_at=request.run_at
        )
        return rows.add(new, submit_at=submit_at)


def _place(name: str) -> str:
    return f"\0{name}\0"
