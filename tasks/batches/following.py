"""Batches as their owners follow them: what one look shows of many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.database import Connection
from models.keys import valid_keys
from models.rows.batches import BatchRow
from tasks.batches.shown import read_batches
from tasks.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One batch that is watched."""

    batch: str
    #: The id of the key that must stay valid.
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A batch at one moment; None if it is gone, or the key is valid no more."""

    batch: BatchRow | None

    @property
    def is_over(self) -> bool:
        return self.batch is None or self.batch.finished_at is not None


async def look(engine: Engine, asked: Sequence[Asked]) -> Mapping[Asked, Seen]:
    """All of them now, with exact counts."""

    async def work(connection: Connection) -> Mapping[Asked, Seen]:
        keys = await valid_keys(connection, {each.key for each in asked})
        found = await read_batches(connection, list({each.batch for each in asked}))
        batches = {batch.id: batch for batch in found}
        return {
            each: Seen(batch=batches.get(each.batch) if each.key in keys else None)
            for each in asked
        }

    return await engine.database.run_statement(work)


def place(batch: BatchRow) -> int:
    """How far the batch is: a number that grows with every line that starts or ends."""
    ended = batch.complete + batch.failed + batch.cancelled
    is_final = batch.finished_at is not None
    return batch.lines - batch.pending + ended + is_final
