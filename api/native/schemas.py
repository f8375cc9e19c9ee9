"""Response schemas for /openapi.json; `tasks.view` and the routes build the responses."""

from datetime import date
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from models.records import Json, shown_columns
from models.scene import Parameters, ReferenceType
from tasks.view import ShownJob

#: The description of what admins' keys are told.
OWNER = "Whose it is; only to an admin key that reads it"

Status = Literal["pending", "processing", "complete", "failed", "cancelled"]


class LineError(BaseModel):
    line: int = Field(description="From 1: its line in the file, or its position in the array")
    custom_id: str | None
    param: str | None
    code: str
    message: str


class ErrorDetail(BaseModel):
    type: str = Field(description="Determines the HTTP status")
    code: str = Field(description="More specific than `type`; stable, for programs")
    message: str = Field(description="For people: the field, its value and what is allowed")
    param: str | None = Field(description="The invalid field, header or parameter")
    request_id: str | None = Field(description="Also in the header X-Request-ID")
    errors: list[LineError] | None = Field(
        default=None, description="Of a batch's invalid lines, at most 1,000"
    )
    error_count: int | None = Field(default=None, description="How many of its lines are invalid")


class ErrorAnswer(BaseModel):
    error: ErrorDetail


class Reason(BaseModel):
    code: str
    message: str


class Output(BaseModel):
    index: int
    status: Literal["pending", "stored", "failed", "deleted"]
    url: str | None = Field(default=None, description="A signed URL, valid for one hour")
    sha256: str | None = None
    bytes: int | None = None
    content_type: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    recovered_at: AwareDatetime | None = Field(
        default=None, description="Brought in by an operator after the job's end, at no charge"
    )
    deleted_at: AwareDatetime | None = Field(
        default=None, description="Older than videos are kept: it has no `url` any more"
    )
    error: Reason | None = None


class Hop(BaseModel):
    from_model: str
    to_model: str
    code: str | None = Field(description="Why the first model made no video")
    at: AwareDatetime


class Waiting(BaseModel):
    code: str = Field(
        description="`paused`, `capped`, `provider_auth`, `provider_quota` or "
        "`provider_rate_limited`"
    )
    message: str
    since: AwareDatetime


class Perf(BaseModel):
    request_id: str
    model_used: str
    latency_ms: int | None = Field(
        default=None, description="Time until the job was durable; only in the submission response"
    )
    generation_time_ms: int | None = None
    cost_usd: float | None = None


def _document_shown(schema: Json) -> None:
    """Add the job's columns that the view shows because their row type marks them so."""
    for name, (type_, mark) in shown_columns(ShownJob).items():
        described = {"description": mark.description}
        schema["properties"][name] = TypeAdapter(type_).json_schema() | described


class _Identity(BaseModel):
    id: str
    object: Literal["video.generation"]
    status: Status
    model: str
    tenant: str | None = Field(default=None, description=OWNER)


class Job(Parameters, _Identity):
    model_config = ConfigDict(json_schema_extra=_document_shown)

    duration_seconds: int
    resolution: str
    aspect_ratio: str
    size: str
    fps: int | None = None
    count: int | None = None
    metadata: dict[str, Any] | None = None
    priority: Literal["low", "normal", "high"] | None = None
    run_at: AwareDatetime | None = None
    estimated_cost_usd: float
    progress_percent: int = Field(ge=0, le=100)
    progress_source: Literal["reported", "estimated"]
    estimated_remaining_seconds: int | None = None
    ignored: list[str] | None = Field(
        default=None,
        description="Parameters dropped because the model lacks them (unsupported=ignore)",
    )
    waiting: Waiting | None = Field(
        default=None, description="Why nothing was sent to the provider yet, if an account holds it"
    )
    hops: list[Hop] | None = Field(
        default=None, description="How the gate moved on from model to model, oldest first"
    )
    outputs: list[Output] | None = Field(default=None, description="Once the job is final")
    video_url: str | None = Field(default=None, description="The first stored output's `url`")
    cost_usd: float | None = None
    error: Reason | None = None
    error_message: str | None = None
    perf: Perf
    created_at: AwareDatetime
    accepted_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    deadline_at: AwareDatetime


class DeletedJob(BaseModel):
    id: str
    object: Literal["video.generation"]
    deleted: Literal[True]
    deleted_at: AwareDatetime


class _Page(BaseModel):
    has_more: bool
    next: str | None = Field(description="Pass as `after` for the next page")


class JobList(_Page):
    data: list[Job]


class Gate(BaseModel):
    id: str
    object: Literal["gate"]
    tenant: str | None = Field(default=None, description=OWNER)
    name: str
    strategy: Literal["single", "fallback", "round-robin"]
    model: str
    fallback_models: list[str]
    overrides: Literal["all", "none"] | list[str] = Field(
        description="The fields that a request may set itself"
    )
    spending_limit_usd: float | None = Field(description="null: no limit")
    created_at: AwareDatetime
    updated_at: AwareDatetime


class GateList(_Page):
    data: list[Gate]


class DeletedGate(BaseModel):
    id: str
    object: Literal["gate"]
    deleted: Literal[True]


class PromptLimit(BaseModel):
    most: int
    unit: Literal["characters", "utf16"]


class Combination(BaseModel):
    given: list[str] = Field(description="Pictures that the request has")
    without: list[str] = Field(description="Pictures that it does not have")
    resolutions: list[str] = Field(description="Empty: every resolution")
    durations: list[int] = Field(description="Seconds; empty: such a request is refused")


class Limits(BaseModel):
    durations: list[int] = Field(description="Seconds")
    default_duration: int
    combinations: list[Combination] = Field(description="Requests with fewer durations")
    resolutions: list[str]
    default_resolution: str
    aspect_ratios: list[str]
    default_aspect_ratio: str
    sizes: list[str] = Field(description="WIDTHxHEIGHT in pixels")
    sizes_with_image: list[str]
    fps: list[int]
    parameters: list[str] = Field(description="Optional parameters the model supports")
    image: Literal["none", "optional", "required"]
    last_image: Literal["none", "with_image", "optional"]
    reference_images: int = Field(description="Maximum number of reference images")
    reference_types: list[ReferenceType] = Field(description="Types that they may have")
    max_count: int = Field(description="Maximum videos per job")
    prompt: PromptLimit | None
    prompt_with_image: PromptLimit | None
    data_uri_bytes: int | None


class Price(BaseModel):
    currency: Literal["USD"]
    per_second: dict[str, float] = Field(description="By resolution")
    per_second_with_audio: dict[str, float] | None
    date: str
    source: str


class Capabilities(BaseModel):
    progress: Literal["reported", "estimated"]
    cancel: bool = Field(description="Whether the provider can stop a running operation")
    cancelled_costs: float = Field(description="Fraction of the price charged when it is stopped")
    look_up: list[str] = Field(description="How to find an attempt after its response was lost")
    videos_per_attempt: int
    synchronous: bool
    sources: dict[str, str]


class ModelPause(BaseModel):
    code: Literal["paused", "capped", "provider_auth", "provider_quota", "provider_rate_limited"]
    resumes_in_seconds: float | None = Field(
        description="When it is tried again; null: when an operator resumes it"
    )


class Retirement(BaseModel):
    on: date
    reason: str
    use: list[str] = Field(description="Models to use instead; empty: none is its successor")


class Model(BaseModel):
    id: str
    object: Literal["model"]
    title: str
    aliases: list[str]
    available: bool
    set_to_use: str | None = Field(
        description="The variables that the operator must set; of a retired model, to a gateway"
    )
    retired: Retirement | None = Field(
        description="Its vendor makes it no longer: requests are refused with `model_retired`"
    )
    paused: ModelPause | None = Field(
        description="Why no account of the provider sends new jobs now: they wait, or hop by a gate"
    )
    provider: str
    limits: Limits
    price: Price
    typical_seconds: dict[str, int]
    capabilities: Capabilities


class ModelList(_Page):
    data: list[Model]


class DeliveryTry(BaseModel):
    number: int
    at: AwareDatetime
    status: int | None = Field(description="The receiver's HTTP status; null without a response")
    error: str | None
    milliseconds: int


class Delivery(BaseModel):
    id: str = Field(description="Also the `webhook-id` of every try")
    object: Literal["webhook.delivery"]
    job_id: str | None = Field(description="null for an event that belongs to no job")
    batch_id: str | None = Field(description="null for an event that belongs to no batch")
    type: str
    status: Literal["pending", "delivered", "gone", "exhausted"]
    tenant: str | None = Field(default=None, description=OWNER)
    url: str = Field(description="The URL without its query; of another tenant's, its host")
    tries: list[DeliveryTry]
    next_try_at: AwareDatetime | None = Field(description="null: a try is under way, or none comes")
    try_under_way: bool = Field(description="A worker is sending it, or about to")
    replay_wanted: bool = Field(description="One more try follows the one that is under way")
    created_at: AwareDatetime
    finished_at: AwareDatetime | None


class DeliveryList(_Page):
    data: list[Delivery]


class LetterError(Reason):
    param: str | None = Field(description="The invalid argument or field")


class DeadLetter(BaseModel):
    id: str
    object: Literal["intake.failure"]
    tenant: str | None = Field(default=None, description=OWNER)
    task: Literal["video.enqueue", "video.enqueue_batch"]
    task_id: str = Field(description="The Celery message's")
    job_id: str | None = Field(description="The job that it would have made; null: a batch")
    batch_id: str | None = Field(description="The batch that it would have made")
    error: LetterError
    line: int | None = Field(description="The first invalid line of a batch, from 1")
    is_kept: bool = Field(description="It can be retried; false: it was too large to be kept")
    created_at: AwareDatetime


class DeadLetterList(_Page):
    data: list[DeadLetter]


class RetriedLetter(BaseModel):
    id: str = Field(description="The dead letter that is gone now")
    object: Literal["intake.accepted"]
    task: Literal["video.enqueue", "video.enqueue_batch"]
    job_id: str | None
    batch_id: str | None


class SealingKey(BaseModel):
    object: Literal["intake.sealing_key"]
    key: str = Field(description="`ltseal_` and an X25519 public key in base64url")


class Usage(BaseModel):
    app_id: str | None = Field(default=None, description="With group_by=app_id; null: without one")
    model: str | None = Field(default=None, description="With group_by=model")
    provider: str | None = Field(default=None, description="With group_by=provider")
    day: str | None = Field(default=None, description="With group_by=day: of submission, UTC")
    key: str | None = Field(
        default=None, description="With group_by=key: its id; null: submitted over the broker"
    )
    tenant: str | None = Field(default=None, description="With group_by=tenant")
    jobs: int
    complete: int
    failed: int
    cancelled: int
    videos: int = Field(description="Stored and charged")
    video_seconds: float
    cost_usd: float
    reserved_usd: float = Field(description="What unfinished jobs may still cost")
    success_rate: float | None = Field(
        description="Complete jobs among those not cancelled; null before any has ended"
    )
    seconds_to_video_p50: float | None = Field(description="From submission, or `run_at`")
    seconds_to_video_p95: float | None


class UsageList(_Page):
    data: list[Usage]


class Health(BaseModel):
    status: Literal["ok", "ready"]
