"""The options of a batch, validated before its first line is read."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from models.failure import RequestRefused
from models.links import WEBHOOK_URL, WebhookUrl
from models.records import Json
from models.request import MaxCost, VideoRequest, refused
from models.scene import PICTURES, Metadata
from models.text import Text, storable
from models.webhook_secret import WEBHOOK_SECRET, WebhookSecret

#: Maximum lines of a batch.
MAX_LINES: Final = 100_000
#: Maximum size of a batch's body, and of one line, in bytes.
MAX_BATCH_BYTES: Final = 200 * 2**20
MAX_LINE_BYTES: Final = 2**20
#: Maximum errors that are shown of one batch; all are counted.
MAX_ERRORS: Final = 1000
#: Maximum characters of a line's own name.
MAX_CUSTOM_ID: Final = 512
#: What a batch never shows again: links may be signed.
SEALED: Final = frozenset({"webhook_url", "webhook_secret", *PICTURES})

_NOT_SHOWN: Final = {*SEALED, "name", "dry_run", "first_line"}
_SHORT = ("gate", "priority", "deadline_seconds")


class BatchOptions(BaseModel):
    """What holds for a whole batch; `gate`, `priority` and `deadline_seconds` are for each line."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    defaults: Annotated[dict[str, Any], AfterValidator(storable)] = Field(
        default_factory=dict, description="Fields of a request, used where a line does not set them"
    )
    gate: Text | None = Field(
        default=None, min_length=1, max_length=128, description="A gate's id or name, for each line"
    )
    webhook_url: WebhookUrl | None = Field(
        default=None, description=f"URL to call when the batch ends: {WEBHOOK_URL}"
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None, repr=False, description=f"Signs that webhook: {WEBHOOK_SECRET}"
    )
    max_cost_usd: MaxCost | None = Field(
        default=None, description="Maximum cost of all lines, in US dollars"
    )
    priority: Literal["low", "normal", "high"] | None = None
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=MAX_LINES,
        description="Most lines of it at work at a time; they can't have a later `run_at`",
    )
    deadline_seconds: int | None = Field(
        default=None, ge=1, le=30 * 86_400, description="Total time that each line may take"
    )
    on_invalid: Literal["reject", "skip"] = Field(
        default="reject", description="Refuse the batch for an invalid line, or leave the line out"
    )
    metadata: Metadata | None = None
    name: Text | None = Field(default=None, min_length=1, max_length=200)
    dry_run: bool | None = Field(
        default=None, description="Check all lines and estimate their cost, and accept nothing"
    )
    first_line: int | None = Field(
        default=None,
        ge=1,
        le=MAX_LINES,
        description="Of JSON Lines: the number of the line after the options (2 unless set)",
    )

    @field_validator("defaults")
    @classmethod
    def _request_fields(cls, value: Json) -> Json:
        for name in value:
            if name not in VideoRequest.model_fields:
                known = ", ".join(VideoRequest.model_fields)
                msg = f"has the unknown field {name[:64]!r}; known: {known}"
                raise ValueError(msg)
        return value

    @classmethod
    def from_json(cls, values: object, *, tells_values: bool = True) -> Self:
        """The validated options; raises RequestRefused, whose `param` is `options.…`."""
        if not isinstance(values, dict):
            raise RequestRefused("options must be a JSON object", param="options")
        given = {name: value for name, value in values.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            refusal = refused(error, tells_values=tells_values, known=cls.model_fields)
            raise RequestRefused(
                f"options.{refusal.message}", param=f"options.{refusal.param}"
            ) from None

    @property
    def of_each_line(self) -> Json:
        """The fields of a request that lines have unless they set them."""
        short = {name: getattr(self, name) for name in _SHORT}
        given = {**short, **self.defaults}
        return {name: value for name, value in given.items() if value is not None}

    def shown(self) -> Json:
        """The options without what stays sealed."""
        values = self.model_dump(mode="json", exclude_none=True, exclude=_NOT_SHOWN)
        defaults = {name: each for name, each in self.defaults.items() if name not in SEALED}
        return {**values, "defaults": defaults} if defaults else _without(values, "defaults")


def _without(values: Json, name: str) -> Json:
    return {each: value for each, value in values.items() if each != name}
