"""Jobs, their events and Idempotency-Keys: the rows that are read and inserted."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from models.records import Json, Shown

#: SQL: the estimate of a job's dearest plan, in millionths of a US dollar.
DEAREST = """greatest(job.estimated_cost_micros, (
    SELECT max((plan.value ->> 'estimated_cost_micros')::bigint)
    FROM jsonb_each(job.fallbacks) AS plan))"""
#: SQL: a job's sealed scene, unless an older version's pictures are in it: such scenes are read one
#: by one.
SCENE = "CASE WHEN octet_length(job.scene) <= 65536 THEN job.scene END"


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownAtIntake:
    """The columns of a job that intake sets and everyone may read."""

    id: str
    tenant: str
    app_id: Annotated[str | None, Shown("The X-App-ID that it was submitted under")]
    request_id: str
    retry_of: Annotated[str | None, Shown("The failed or cancelled job that it retries")]
    batch_id: Annotated[str | None, Shown("The batch that it is a line of")]
    batch_line: Annotated[int | None, Shown("Its line in the batch's file, from 1")]
    custom_id: Annotated[str | None, Shown("The caller's name for its line")]
    #: A JobState, or a state that only a newer version knows.
    state: str
    model: str
    prompt: str
    request: Json
    metadata_text: str | None
    plan: Json
    gate: Annotated[str | None, Shown("The gate that chose its model")]
    fallbacks: Json | None
    typical_seconds: float
    estimated_cost_micros: int
    unknown_policy: str
    webhook: bytes | None = field(repr=False)
    run_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob(_KnownAtIntake):
    """A job as intake inserts it; the statement computes its deadlines."""

    scene: bytes = field(repr=False)
    api_key: str | None
    reserved_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(_KnownAtIntake):
    """A job as it is read; its scene is left out: an older version's may hold megabytes."""

    progress_percent: int
    progress_source: str
    error: Json | None
    cost_micros: int | None
    deadline_at: datetime
    start_by: datetime | None
    created_at: datetime
    accepted_at: datetime | None
    finished_at: datetime | None
    deleted_at: datetime | None
