"""Intake of batches: the one use case that accepts many requests, all in one transaction."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb

from catalog.accounts import Pick
from models import due, limits, pictures
from models.batch import BatchOptions
from models.database import Connection, fetch_row
from models.dollars import dollars
from models.failure import Allowance, RequestRefused
from models.ids import new_id
from models.intake_failures import forget_intake_failures
from models.limits import Held
from models.records import Json, as_text, columns, placeholders, values
from models.rows.batches import BatchRow, BatchState, NewBatch
from tasks.afford import reserve_batch
from tasks.batches.checking import Adapt
from tasks.batches.insert import Rows
from tasks.batches.lines import Source
from tasks.batches.reading import Reading, Whose
from tasks.batches.shown import read_batches
from tasks.batches.view import batch_view
from tasks.choosing import picker
from tasks.crash import crash_point
from tasks.ending import end
from tasks.engine import Engine
from tasks.reachable import check_webhook
from tasks.repeats import Caller, first_batch, remember_batch
from tasks.view import usd

#: How often a batch is begun again that limits or gates were changed under.
_TRIES: Final = 3
#: A pause of our own in the transaction may be longer than that of a short one.
_PATIENT: Final = "SET LOCAL idle_in_transaction_session_timeout = '60s'"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedBatch:
    """A durable batch: a new one, or the one that this id or key already has."""

    batch_id: str
    #: The public view in the first response; for a repeat by id, as it is now.
    view: Json = field(repr=False)
    #: The accounts at which its lines are due now.
    lanes: tuple[str, ...] = ()
    is_repeat: bool = False
    #: What is left of the caller's limits; None without limits, and for a repeat.
    allowance: Allowance | None = None


async def accept_batch(
    engine: Engine,
    source: Source,
    *,
    tenant: str,
    caller: Caller | None = None,
    batch_id: str | None = None,
    retry_of: str | None = None,
    adapt: Adapt | None = None,
    tells_values: bool = True,
) -> AcceptedBatch:
    """Check every line of a batch as a single request and insert all rows in one transaction.

    For a `batch_id` or Idempotency-Key that exists already, return the first batch. `adapt` makes
    requests of lines for another system's API; messages quote values unless `tells_values` is
    false.

    Raises:
        InvalidLines: lines are invalid, and the options do not let them be skipped.
        RequestRefused: the options are invalid, a limit is reached or a budget too small; no row
            was written.
        DatabaseAway: PostgreSQL can't be reached; nothing was accepted.
    """
    caller = caller or Caller()
    whose = Whose(batch=batch_id or new_id("batch"), tenant=tenant, caller=caller)
    if caller.idempotency_key or batch_id:  # a repeat is answered whatever became of the models
        first = await engine.database.run(lambda connection: _existing(engine, connection, whose))
        if first is not None:
            return first
    options = _options(engine, source, tells_values=tells_values)
    if options.dry_run:
        msg = "options.dry_run is for POST /v1/batches: nothing would be accepted"
        raise RequestRefused(msg, param="options.dry_run")
    intake = _Intake(
        engine=engine,
        source=source,
        options=options,
        whose=whose,
        retry_of=retry_of,
        adapt=adapt,
        tells_values=tells_values,
    )
    try:
        return await intake.accept()
    except ForeignKeyViolation:
        msg = f"tenant {tenant!r} is unknown; `longtake keys create --tenant` creates one"
        raise RequestRefused(msg, param="tenant") from None


async def estimate_batch(
    engine: Engine,
    source: Source,
    *,
    tenant: str,
    caller: Caller | None = None,
    adapt: Adapt | None = None,
) -> Json:
    """Check a batch as `accept_batch` does and estimate its cost; no row is written.

    Raises:
        RequestRefused: as `accept_batch`, but for invalid lines, which are in the answer.
    """
    intake = _Intake(
        engine=engine,
        source=source,
        options=_options(engine, source, tells_values=True),
        whose=Whose(batch=new_id("batch"), tenant=tenant, caller=caller or Caller()),
        retry_of=None,
        adapt=adapt,
        tells_values=True,
    )
    return await intake.estimate()


def _options(engine: Engine, source: Source, *, tells_values: bool) -> BatchOptions:
    options = BatchOptions.from_json(source.options, tells_values=tells_values)
    try:
        check_webhook(engine, options.webhook_url, options.webhook_secret)
    except RequestRefused as refusal:
        msg = f"options.{refusal.message}"
        raise RequestRefused(msg, param=f"options.{refusal.param}") from None
    return options


class _Stopped(Exception):
    """The transaction was given up; a second reading tells why."""


@dataclass(slots=True, kw_only=True)
class _Intake:
    """One batch on its way in."""

    engine: Engine
    source: Source
    options: BatchOptions
    whose: Whose
    retry_of: str | None
    adapt: Adapt | None
    tells_values: bool

    async def accept(self) -> AcceptedBatch:
        for _ in range(_TRIES):
            is_held = await self._is_held()
            insert = partial(self._insert, is_held=is_held, pick=await picker(self.engine))
            try:
                return await self.engine.database.run_around_others(insert)
            except _Stopped:  # outside of the transaction, which would wait for all the lines
                await self._refuse()
        msg = "gates or limits were changed while the batch was read: send it again"
        raise RequestRefused(msg, type="conflict", code="batch_disturbed")

    async def estimate(self) -> Json:
        is_held = await self._is_held()
        reading = await self._refuse(tells_lines=True)
        totals, errors = reading.totals, reading.errors
        if totals.lines and not self._is_refused(reading):
            with suppress(_Stopped):
                await self.engine.database.run(partial(self._try, reading=reading, is_held=is_held))
        return {
            "object": "batch.estimate",
            "lines": totals.lines,
            "invalid": errors.count,
            "estimated_cost_usd": usd(totals.estimated_micros),
            "errors": errors.in_order(),
            "error_count": errors.count,
        }

    async def _try(self, connection: Connection, *, reading: Reading, is_held: bool) -> None:
        await self._reserve(connection, reading, is_held=is_held)
        raise _Stopped  # so nothing stays reserved

    async def _is_held(self) -> bool:
        """Whether lines wait for others; raises RequestRefused for a limit that is reached."""
        held = await self.engine.database.run(self._limits)
        if refusal := held.refusal_of_batch(1):
            raise refusal
        return self.options.concurrency is not None or held.is_concurrent

    async def _limits(self, connection: Connection) -> Held:
        whose = self.whose
        return await limits.hold(connection, tenant=whose.tenant, api_key=whose.caller.api_key)

    def _reading(self, pick: Pick) -> Reading:
        return Reading.begin(
            self.engine,
            self.source,
            self.whose,
            defaults=self.options.of_each_line,
            adapt=self.adapt,
            tells_values=self.tells_values,
            pick=pick,
            starts_at_once=self.options.concurrency is not None,
        )

    async def _refuse(self, *, tells_lines: bool = False) -> Reading:
        """Read all lines and say what is wrong with them, if anything is.

        With `tells_lines`, what is wrong with single lines is left in the reading.
        """
        reading = self._reading(await picker(self.engine))
        await reading.check()
        if self._is_refused(reading):
            if tells_lines:
                return reading
            raise reading.errors.refusal()
        if self._is_too_dear(reading):
            most = dollars(reading.totals.reserved.total())
            msg = (
                f"options.max_cost_usd is {self.options.max_cost_usd}, and the batch's "
                f"{reading.totals.lines} lines may cost up to {most}"
            )
            raise RequestRefused(
                msg,
                type="insufficient_balance",
                code="batch_budget_exceeded",
                param="options.max_cost_usd",
            )
        return reading

    def _is_refused(self, reading: Reading) -> bool:
        errors = reading.errors
        return errors.is_broken or (errors.count > 0 and self.options.on_invalid == "reject")

    def _is_too_dear(self, reading: Reading) -> bool:
        most = self.options.max_cost_usd
        return most is not None and reading.totals.reserved.total() > Decimal(str(most)) * 1_000_000

    async def _insert(self, connection: Connection, *, is_held: bool, pick: Pick) -> AcceptedBatch:
        """Insert all rows. Others wait for what the last statements lock, but not for the copy."""
        if first := await _existing(self.engine, connection, self.whose):
            return first
        reading = self._reading(pick)
        await self._copy(connection, reading, is_held=is_held)
        totals = reading.totals
        if not totals.lines:
            raise reading.errors.refusal() if reading.errors.count else _empty()
        left = await self._reserve(connection, reading, is_held=is_held)
        row = await _insert_batch(
            connection, self._row(reading, is_held=is_held), deadline_at=totals.deadline_at
        )
        await forget_intake_failures(connection, [row.id], table="batch")
        crash_point("batch.inserted")
        view = batch_view(row)
        await remember_batch(self.engine, connection, self.whose.tenant, self.whose.caller, view)
        lanes = tuple(sorted(totals.lanes))
        return AcceptedBatch(batch_id=row.id, view=view, lanes=lanes, allowance=left)

    async def _reserve(
        self, connection: Connection, reading: Reading, *, is_held: bool
    ) -> Allowance | None:
        totals = reading.totals
        held = await self._limits(connection)
        if refusal := held.refusal_of_batch(totals.lines):
            raise refusal
        if held.is_concurrent and not is_held:
            raise _Stopped
        left = await held.count(connection, lines=totals.lines)
        if reading.has_pictures:
            await pictures.keep_staged(connection, tenant=self.whose.tenant)
        await reserve_batch(
            connection,
            totals.reserved,
            tenant=self.whose.tenant,
            api_key=self.whose.caller.api_key,
            app_id=self.whose.caller.app_id,
        )
        return left

    async def _copy(self, connection: Connection, reading: Reading, *, is_held: bool) -> None:
        """Copy chunks while the next ones are read; raises _Stopped if they can't be accepted."""
        await connection.execute(_PATIENT)
        found = await fetch_row(connection, _Now, "SELECT now() AS now")
        assert found is not None  # noqa: S101 - a SELECT without FROM
        chunks = reading.rows(now=found.now, is_held=is_held)

        async def following() -> Rows | None:
            rows = await anext(chunks, None)
            if self._is_refused(reading) or self._is_too_dear(reading):
                raise _Stopped
            return rows

        ahead = asyncio.create_task(following())
        try:
            while (rows := await ahead) is not None:
                ahead = asyncio.create_task(following())
                await rows.copy(connection)
        finally:
            await end(ahead)
            await chunks.aclose()

    def _row(self, reading: Reading, *, is_held: bool) -> NewBatch:
        options, totals, errors = self.options, reading.totals, reading.errors
        target = {"url": options.webhook_url, "secret": options.webhook_secret}
        return NewBatch(
            id=self.whose.batch,
            tenant=self.whose.tenant,
            app_id=self.whose.caller.app_id,
            api_key=self.whose.caller.api_key,
            name=options.name,
            state=BatchState.IN_PROGRESS,
            retry_of=self.retry_of,
            options=options.shown(),
            metadata_text=as_text(options.metadata),
            webhook=self.engine.vault.seal_json(target) if options.webhook_url else None,
            lines=totals.lines,
            invalid=errors.count,
            errors=errors.in_order() or None,
            concurrency=options.concurrency,
            estimated_cost_micros=totals.estimated_micros,
            pending=totals.lines,
            running=0 if is_held else totals.lines,
            released_to=0 if is_held else totals.last_line,
            reserved_micros=totals.reserved.total(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Now:
    now: datetime


async def _insert_batch(
    connection: Connection, row: NewBatch, *, deadline_at: datetime | None
) -> BatchRow:
    sql = f"""
    WITH tally AS (
        INSERT INTO due (what, id, lane, tenant) VALUES ('tally', %(id)s, %(lane)s, %(tenant)s)
    )
    INSERT INTO batch ({columns(NewBatch)}, deadline_at)
    VALUES ({placeholders(NewBatch)}, %(deadline_at)s) RETURNING {columns(BatchRow)}
    """  # noqa: S608 - columns of our own
    errors = None if row.errors is None else Jsonb(row.errors)
    given: dict[str, Any] = values(row) | {"errors": errors}
    given |= {"deadline_at": deadline_at, "lane": due.NO_LANE}
    made = await fetch_row(connection, BatchRow, sql, given)
    assert made is not None  # noqa: S101 - an INSERT that returns its row
    return made


async def _existing(engine: Engine, connection: Connection, whose: Whose) -> AcceptedBatch | None:
    """The batch that has this key or id; another one with them that is on its way is waited for.

    Raises:
        RequestRefused: the id is another tenant's, or the key was used with another body.
    """
    view = await first_batch(engine, connection, whose.tenant, whose.caller)
    if view is not None:
        return AcceptedBatch(batch_id=view["id"], view=view, is_repeat=True)
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"batch\n{whose.batch}",)
    )
    found = await read_batches(connection, [whose.batch])
    if not found:
        return None
    if found[0].tenant != whose.tenant:
        raise RequestRefused(f"batch_id {whose.batch!r} is taken", param="batch_id")
    await forget_intake_failures(connection, [whose.batch], table="batch")
    return AcceptedBatch(batch_id=whose.batch, view=batch_view(found[0]), is_repeat=True)


def _empty() -> RequestRefused:
    return RequestRefused("the batch is empty: send at least one line", code="empty_batch")
