"""The shapes of our answers, for /openapi.json; what makes them is `tasks.view` and the routes."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

Status = Literal["pending", "processing", "complete", "failed", "cancelled"]


class ErrorDetail(BaseModel):
    type: str = Field(description="Decides the HTTP status; see the status's description")
    code: str = Field(description="Finer than `type`, stable, made for programs")
    message: str = Field(description="In words: the field, its value and what is allowed")
    param: str | None = Field(description="The field, header or parameter at fault")
    request_id: str | None = Field(description="Also in the header X-Request-ID")


class ErrorAnswer(BaseModel):
    error: ErrorDetail


class Reason(BaseModel):
    code: str
    message: str


class Output(BaseModel):
    index: int
    status: Literal["pending", "stored", "failed"]
    url: str | None = Field(default=None, description="A signed link that lives for an hour")
    sha256: str | None = None
    bytes: int | None = None
    content_type: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    error: Reason | None = None


class Perf(BaseModel):
    request_id: str
    model_used: str
    latency_ms: int | None = Field(
        default=None, description="Until this job was durable; only at its submission"
    )
    generation_time_ms: int | None = None
    cost_usd: float | None = None


class Job(BaseModel):
    id: str
    object: Literal["video.generation"]
    status: Status
    model: str
    prompt: str
    duration_seconds: int
    resolution: str
    aspect_ratio: str
    size: str
    seed: int | None = None
    negative_prompt: str | None = None
    fps: int | None = None
    count: int | None = None
    metadata: dict[str, Any] | None = None
    priority: Literal["low", "normal", "high"] | None = None
    run_at: AwareDatetime | None = None
    audio: bool | None = None
    estimated_cost_usd: float
    progress_percent: int = Field(ge=0, le=100)
    progress_source: Literal["reported", "estimated"]
    estimated_remaining_seconds: int | None = None
    app_id: str | None = None
    ignored: list[str] | None = Field(
        default=None, description="Parameters that the model can't carry, under unsupported=ignore"
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


class _Page(BaseModel):
    has_more: bool
    next: str | None = Field(description="What to give as `after` for the next page")


class JobList(_Page):
    data: list[Job]


class PromptLimit(BaseModel):
    most: int
    unit: Literal["characters", "utf16"]


class Limits(BaseModel):
    durations: list[int] = Field(description="Seconds")
    default_duration: int
    resolutions: list[str]
    default_resolution: str
    aspect_ratios: list[str]
    default_aspect_ratio: str
    sizes: list[str] = Field(description="WIDTHxHEIGHT in pixels")
    sizes_with_image: list[str]
    fps: list[int]
    parameters: list[str] = Field(description="Optional parameters that the model carries")
    image: Literal["none", "optional", "required"]
    last_image: Literal["none", "with_image", "optional"]
    reference_images: int
    max_count: int = Field(description="Videos a job")
    prompt: PromptLimit | None
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
    cancelled_costs: float = Field(description="Share of the price that a stopped one costs")
    look_up: list[str] = Field(description="How an attempt whose answer was lost is found again")
    videos_per_attempt: int
    synchronous: bool
    sources: dict[str, str]


class Model(BaseModel):
    id: str
    object: Literal["model"]
    title: str
    aliases: list[str]
    available: bool
    set_to_use: str | None = Field(description="The variables that the operator must set")
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
    status: int | None = Field(description="The receiver's HTTP status; null: none came")
    error: str | None
    milliseconds: int


class Delivery(BaseModel):
    id: str = Field(description="Also the `webhook-id` of every try")
    object: Literal["webhook.delivery"]
    job_id: str
    type: str
    status: Literal["pending", "delivered", "gone", "exhausted"]
    url: str = Field(description="Without its query")
    tries: list[DeliveryTry]
    next_try_at: AwareDatetime | None
    created_at: AwareDatetime
    finished_at: AwareDatetime | None


class DeliveryList(_Page):
    data: list[Delivery]


class Health(BaseModel):
    status: Literal["ok", "ready"]
