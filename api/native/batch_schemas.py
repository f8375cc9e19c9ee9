"""Response schemas of batches for /openapi.json."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.native.schemas import OWNER, LineError


class Counts(BaseModel):
    total: int = Field(description="All lines, the invalid ones that were left out included")
    pending: int
    processing: int
    complete: int
    failed: int
    cancelled: int
    invalid: int = Field(description="Left out (`on_invalid: skip`)")


class Batch(BaseModel):
    id: str
    object: Literal["batch"]
    status: Literal["in_progress", "cancelling", "completed", "failed", "cancelled"] = Field(
        description="`completed`: at least one line is complete; `failed`: none is"
    )
    tenant: str | None = Field(default=None, description=OWNER)
    name: str | None
    app_id: str | None
    counts: Counts
    estimated_cost_usd: float
    reserved_cost_usd: float = Field(description="What unfinished lines hold")
    cost_usd: float = Field(description="What its lines were charged so far")
    options: dict[str, Any] = Field(description="Without its webhook and secrets")
    metadata: dict[str, Any] | None
    retry_of: str | None
    errors: list[LineError] = Field(description="Of the lines that were left out, at most 1,000")
    error_count: int
    created_at: AwareDatetime
    finished_at: AwareDatetime | None
    cancelled_at: AwareDatetime | None = Field(description="When its cancel was asked for")
    deadline_at: AwareDatetime
    results_url: str


class BatchEstimate(BaseModel):
    object: Literal["batch.estimate"]
    lines: int = Field(description="Valid ones")
    invalid: int
    estimated_cost_usd: float = Field(description="Of the valid lines")
    errors: list[LineError] = Field(description="Of the invalid lines, at most 1,000")
    error_count: int


class BatchList(BaseModel):
    data: list[Batch]
    has_more: bool
    next: str | None


class Reason(BaseModel):
    code: str
    message: str
    param: str | None = None


class BatchLine(BaseModel):
    line: int
    custom_id: str | None
    status: Literal[
        "pending", "processing", "complete", "failed", "cancelled", "invalid", "deleted"
    ]
    job: dict[str, Any] | None = Field(description="The job as it is now")
    error: Reason | None


class RetryOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_cancelled: bool = Field(default=False, description="Cancelled lines as well")
