"""Batches and the changes of their counts: the rows that are read and inserted."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from models.records import Json


class BatchState(StrEnum):
    """A batch's state; a final one never changes."""

    #: Some of its lines have not ended.
    IN_PROGRESS = "in_progress"
    #: All lines have ended, at least one of them complete. Final.
    COMPLETED = "completed"
    #: All lines have ended, and none is complete. Final.
    FAILED = "failed"
    #: A cancel was asked for, and ended at least one line. Final.
    CANCELLED = "cancelled"


#: The columns of a batch that its changes are added to: all that a change has.
COUNTS = (
    *("pending", "processing", "complete", "failed", "cancelled"),
    *("running", "reserved_micros", "charged_micros"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownAtIntake:
    """The columns of a batch that intake sets and everyone may read."""

    id: str
    tenant: str
    app_id: str | None
    name: str | None
    #: A BatchState.
    state: str
    retry_of: str | None
    options: Json
    metadata_text: str | None
    webhook: bytes | None = field(repr=False)
    lines: int
    invalid: int
    errors: list[Json] | None
    concurrency: int | None
    estimated_cost_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch(_KnownAtIntake):
    """A batch as intake inserts it; the statement computes its deadline."""

    api_key: str | None
    pending: int
    running: int
    released_to: int
    reserved_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow(_KnownAtIntake):
    """A batch as it is read, with the counts that are folded into its row."""

    api_key: str | None
    pending: int
    processing: int
    complete: int
    failed: int
    cancelled: int
    running: int
    released_to: int
    reserved_micros: int
    charged_micros: int
    deadline_at: datetime
    created_at: datetime
    cancelled_at: datetime | None
    cancelled_to: int
    finished_at: datetime | None

    @property
    def metadata(self) -> Json | None:
        """What its owner gave it, as it was given."""
        if self.metadata_text is None:
            return self.options.get("metadata")
        own: Json = json.loads(self.metadata_text)
        return own
