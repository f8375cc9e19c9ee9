"""One pass over a batch's lines: each is checked, resolved and made into the rows of a job."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from catalog.accounts import Pick
from models.failure import RequestRefused
from models.ids import new_id
from models.records import Json
from tasks.batches.checking import Adapt, Checker, Errors, Wanted
from tasks.batches.forms import Forms
from tasks.batches.insert import Rows
from tasks.batches.lines import Source
from tasks.batches.pictures import Pictures
from tasks.batches.resolving import Resolver
from tasks.batches.templates import Found, Templates
from tasks.choosing import Choice
from tasks.engine import Engine
from tasks.making import Names
from tasks.repeats import Caller

#: Lines that are resolved and copied together, and the bytes of them that suffice.
_CHUNK: Final = 250
_CHUNK_BYTES: Final = 2 * 2**20
#: Seconds of work between two pauses, in which the event loop does other work.
_SLICE: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Whose batch it is, and what it is called."""

    batch: str
    tenant: str
    caller: Caller


@dataclass(slots=True)
class Totals:
    """What the valid lines read so far come to."""

    lines: int = 0
    last_line: int = 0
    estimated_micros: int = 0
    #: What they may cost at most, by their gate's id.
    reserved: Counter[str | None] = field(default_factory=Counter)
    lanes: set[str] = field(default_factory=set)
    deadline_at: datetime | None = None

    def add(self, line: Wanted, choice: Choice) -> None:
        self.lines += 1
        self.last_line = max(self.last_line, line.line)
        self.estimated_micros += choice.plans[0].estimated_cost_micros
        self.reserved[choice.gate] += max(each.estimated_cost_micros for each in choice.plans)


@dataclass(slots=True, kw_only=True)
class Reading:
    """A pass over the lines; `totals` and `errors` tell of the lines read so far."""

    engine: Engine
    source: Source
    whose: Whose
    checker: Checker
    resolver: Resolver
    pictures: Pictures
    forms: Forms
    #: Whether a line must not be scheduled: until then it would take the place of another.
    starts_at_once: bool
    totals: Totals = field(default_factory=Totals)

    @classmethod
    def begin(
        cls,
        engine: Engine,
        source: Source,
        whose: Whose,
        *,
        defaults: Json,
        adapt: Adapt | None,
        tells_values: bool,
        pick: Pick,
        starts_at_once: bool,
    ) -> "Reading":
        templates = Templates(engine=engine, pick=pick)
        return cls(
            engine=engine,
            source=source,
            whose=whose,
            checker=Checker(defaults, adapt=adapt, tells_values=tells_values),
            resolver=Resolver(engine=engine, tenant=whose.tenant, templates=templates),
            pictures=Pictures(vault=engine.vault, tenant=whose.tenant),
            forms=Forms(engine=engine),
            starts_at_once=starts_at_once,
        )

    @property
    def has_pictures(self) -> bool:
        """Whether lines read so far contain pictures."""
        return self.pictures.are_there

    @property
    def errors(self) -> Errors:
        return self.checker.errors

    async def check(self) -> None:
        """Read to the end and make nothing."""
        async for lines in self._chunks():
            await self._resolved(lines, rows=None)

    async def rows(self, *, now: datetime, is_held: bool) -> AsyncGenerator[Rows, None]:
        """The rows of all valid lines, some lines at a time; call it once."""
        async for lines in self._chunks():
            rows = Rows(now=now, is_held=is_held)
            await self._resolved(lines, rows=rows)
            yield rows

    async def _chunks(self) -> AsyncIterator[list[Wanted]]:
        lines: list[Wanted] = []
        seen = size = 0
        began = time.perf_counter()
        async for line in self.source.lines():
            if (wanted := await self.checker.read(line)) is not None:
                lines.append(wanted)
            seen, size = seen + 1, size + line.size
            if seen >= _CHUNK or size >= _CHUNK_BYTES:
                yield lines
                lines, seen, size = [], 0, 0
            if self.errors.is_broken:
                break
            began = await _paused(began)
        yield lines

    async def _resolved(self, lines: Sequence[Wanted], *, rows: Rows | None) -> None:
        """Resolve lines and add their rows to `rows`, if given."""
        prepared = await self.resolver.prepare(lines, takes_turns=rows is not None)
        began = time.perf_counter()
        for line in lines:
            try:
                self._check_start(line)
                found = prepared.resolve(line)
            except RequestRefused as refusal:
                self.errors.add(line.line, line.custom_id, refusal)
                continue
            self.totals.add(line, found.choice)
            if rows is not None:
                pictures = await self.pictures.of(line.request, rows)
                self._add(line, found, pictures, rows)
            began = await _paused(began)

    def _check_start(self, line: Wanted) -> None:
        run_at = line.request.run_at
        if self.starts_at_once and run_at is not None and run_at > datetime.now(UTC):
            msg = (
                "run_at must not be in the future in a batch with options.concurrency "
                f"(it is {run_at.isoformat()})"
            )
            raise RequestRefused(msg, param="run_at")

    def _add(self, line: Wanted, found: Found, pictures: Mapping[str, str], rows: Rows) -> None:
        names = Names(
            job=new_id("job_vid"),
            tenant=self.whose.tenant,
            caller=self.whose.caller,
            retry_of=line.retry_of,
            batch=self.whose.batch,
            line=line.line,
            custom_id=line.custom_id,
            pictures=pictures,
        )
        deadline = self.forms.add(line.request, found, names, rows)
        self.totals.deadline_at = max(deadline, self.totals.deadline_at or deadline)
        run_at = line.request.run_at
        if not rows.is_held and (run_at is None or run_at <= rows.now):
            self.totals.lanes.add(found.choice.plans[0].account)


async def _paused(began: float) -> float:
    """Let other work go on after a slice of ours; returns when the current one began."""
    if time.perf_counter() - began < _SLICE:
        return began
    await asyncio.sleep(0)
    return time.perf_counter()
