"""Retry of a batch: the requests of its failed lines as a new batch that names the first."""

import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from models.database import Connection, fetch_ids, fetch_rows
from models.failure import RequestRefused
from models.records import Json, columns
from models.rows.batches import BatchRow
from models.state import JobState
from tasks.batches.control import own_batch
from tasks.batches.intake import AcceptedBatch, accept_batch
from tasks.batches.lines import Line
from tasks.engine import Engine
from tasks.repeats import Caller, first_batch
from tasks.retry import Original, body_of

#: Lines of one page.
_PAGE: Final = 200
#: Options that are defaults of lines, whose requests have them already.
_OF_LINES: Final = frozenset({"defaults", "gate", "priority", "deadline_seconds"})


async def retry(
    engine: Engine,
    batch_id: str,
    *,
    tenant: str,
    caller: Caller,
    include_cancelled: bool = False,
) -> AcceptedBatch:
    """Submit the failed lines of the tenant's batch again, and if wanted its cancelled ones.

    They keep their line numbers, custom_ids and app. Only lines that have ended are taken, and none
    that was deleted; the batch may be in progress.

    Raises:
        RequestRefused: `not_found`; `nothing_to_retry`; or as `accept_batch`.
    """
    if caller.idempotency_key:
        view = await engine.database.run(lambda c: first_batch(engine, c, tenant, caller))
        if view is not None:
            return AcceptedBatch(batch_id=view["id"], view=view, is_repeat=True)
    states = [JobState.FAILED, *([JobState.CANCELLED] if include_cancelled else [])]

    async def work(connection: Connection) -> tuple[BatchRow, list[str]]:
        batch = await own_batch(connection, batch_id, tenant=tenant)
        return batch, await fetch_ids(connection, _ENDED, (batch_id, states))

    batch, jobs = await engine.database.run(work)
    if not jobs:
        kinds = "failed or cancelled" if include_cancelled else "failed"
        msg = f"no line of batch {batch_id} has {kinds}"
        raise RequestRefused(msg, type="conflict", code="nothing_to_retry")
    # The requests are read before the transaction of the new batch, which then needs no other.
    with tempfile.TemporaryFile(prefix="longtake-retry-") as file:
        for start in range(0, len(jobs), _PAGE):
            await _write(engine, file, jobs[start : start + _PAGE])
        return await accept_batch(
            engine,
            _Again(file=file, options=_options(engine, batch)),
            tenant=tenant,
            caller=_own(caller, batch),
            retry_of=batch_id,
            tells_values=False,
        )


_ENDED: Final = """
SELECT id FROM job WHERE batch_id = %s AND state = ANY(%s) AND deleted_at IS NULL
ORDER BY batch_line
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OldLine(Original):
    """A line with all that its request consisted of."""

    id: str
    batch_line: int
    custom_id: str | None


async def _write(engine: Engine, file: BinaryIO, jobs: list[str]) -> None:
    sql = f"""
    SELECT {columns(_OldLine)} FROM job WHERE id = ANY(%s) AND deleted_at IS NULL
    ORDER BY batch_line
    """  # noqa: S608 - columns of our own
    found = await engine.database.run_statement(lambda c: fetch_rows(c, _OldLine, sql, (jobs,)))
    for old in found:
        target = engine.vault.open_json(old.webhook) if old.webhook is not None else None
        value: Json = {"request": await body_of(engine, old, target)}
        if old.custom_id is not None:
            value["custom_id"] = old.custom_id
        # Not by orjson: metadata may contain integers above 64 bits.
        file.write(json.dumps([old.batch_line, old.id, value]).encode() + b"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """The lines of a file that `_write` wrote."""

    file: BinaryIO = field(repr=False)
    options: Json = field(repr=False)

    async def lines(self) -> AsyncIterator[Line]:
        self.file.seek(0)
        for raw in self.file:
            number, job, value = json.loads(raw)
            yield Line(number=number, value=value, size=len(raw), retry_of=job)


def _options(engine: Engine, batch: BatchRow) -> Json:
    """The batch's options as they were submitted, with what was kept sealed of them."""
    options = {name: value for name, value in batch.options.items() if name not in _OF_LINES}
    if batch.webhook is not None:
        target = engine.vault.open_json(batch.webhook)
        options |= {"webhook_url": target["url"], "webhook_secret": target["secret"]}
    return {**options, "name": batch.name, "metadata": batch.metadata}


def _own(caller: Caller, batch: BatchRow) -> Caller:
    return replace(caller, app_id=caller.app_id or batch.app_id)
