"""A gate as its owner writes it, validated field by field before a row exists."""

import re
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from models.failure import RequestRefused
from models.request import refused
from models.scene import KNOBS
from models.text import Text

#: Maximum fallback models of a gate.
MAX_FALLBACKS = 9
#: What the ids of gates begin with; names must not, so that a request may use either.
PREFIX = "gate_"
#: The fields of a request that a gate may forbid: the model, and what changes a price or a look.
OVERRIDABLE = (
    *("model", "duration_seconds", "resolution", "aspect_ratio", "size", "fps", "count"),
    *KNOBS,
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)


class Strategy(StrEnum):
    """How a gate chooses among its models."""

    #: The gate's model only.
    SINGLE = "single"
    #: The gate's model first; where it can't make the video, the fallback models in their order.
    FALLBACK = "fallback"
    #: Each job begins with the model after the previous job's, and goes on with those that follow.
    ROUND_ROBIN = "round-robin"


def _name(value: str) -> str:
    if not _NAME.fullmatch(value) or value.startswith(PREFIX):
        msg = (
            "must be 1 to 64 letters, digits and . _ : -, starting with a letter or a digit, and "
            f"not with {PREFIX}"
        )
        raise ValueError(msg)
    return value


def _overrides(value: object) -> object:
    if value in ("all", "none"):
        return value
    if isinstance(value, list | tuple) and all(each in OVERRIDABLE for each in value):
        return tuple(dict.fromkeys(value))
    msg = f"must be all, none or a list of these fields: {', '.join(OVERRIDABLE)}"
    raise ValueError(msg)


#: "all", "none", or the fields that are allowed.
Overrides = Annotated[str | tuple[str, ...], BeforeValidator(_overrides)]
Name = Annotated[Text, Field(min_length=1, max_length=128)]


class GateRequest(BaseModel):
    """The body of `POST /v1/gates`, and of `PUT`, which replaces all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, AfterValidator(_name)] = Field(
        max_length=64, description="Unique per tenant; requests name the gate by it or by its id"
    )
    model: Name = Field(description="The first model; see /v1/models")
    overrides: Overrides = Field(
        default="all",
        description="What a request may set itself: `all`, `none`, or a list of these fields: "
        + ", ".join(OVERRIDABLE),
    )
    strategy: Strategy = Field(
        default=Strategy.SINGLE,
        strict=False,
        description="`single`: the model only; `fallback`: then the fallback models, in order; "
        "`round-robin`: in turn",
    )
    fallback_models: tuple[Name, ...] = Field(
        default=(), max_length=MAX_FALLBACKS, description="The other models, in order"
    )
    spending_limit_usd: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000_000,
        allow_inf_nan=False,
        description="What its jobs may cost together, in US dollars; null: no limit",
    )

    @field_validator("fallback_models", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: object) -> object:
        """Accept a JSON array."""
        return tuple(value) if isinstance(value, list) else value

    @field_validator("spending_limit_usd")
    @classmethod
    def _not_rounded_to_nothing(cls, value: float | None) -> float | None:
        if value is not None and round(value * 1_000_000) < 1:
            msg = "must be at least 0.000001"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _strategy_fits_models(self) -> Self:
        if self.strategy is Strategy.SINGLE and self.fallback_models:
            msg = "strategy must be fallback or round-robin for fallback_models (it is single)"
            raise ValueError(msg)
        if self.strategy is not Strategy.SINGLE and not self.fallback_models:
            msg = f"fallback_models must name 1 to {MAX_FALLBACKS} models for the strategy"
            raise ValueError(f"{msg} {self.strategy.value} (there are 0)")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, *self.fallback_models)

    @classmethod
    def from_json(cls, body: object) -> "GateRequest":
        """The validated gate; raises RequestRefused for the first invalid field."""
        if not isinstance(body, dict):
            msg = "the request body must be a JSON object"
            raise RequestRefused(msg)
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise _refused(error) from None


def _refused(error: ValidationError) -> RequestRefused:
    issue: Any = error.errors(include_url=False)[0]
    if not issue["loc"]:  # two fields that don't fit: the message begins with the one to change
        message = issue["msg"].removeprefix("Value error, ")
        return RequestRefused(message, param=message.partition(" ")[0])
    return refused(error, known=GateRequest.model_fields)
