"""Response schemas of what operators see, for /openapi.json."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field


class _Whole(BaseModel):
    """A list of one page."""

    has_more: Literal[False]
    next: None


class LaneStop(BaseModel):
    code: str = Field(
        description="`paused`, `capped`, `provider_auth`, `provider_quota`, "
        "`provider_rate_limited`, `rate_limited` or `breaker_open`"
    )
    reason: str = Field(description="In words; an operator's own, if there are any")
    seconds: float | None = Field(description="Until it ends by itself; null: not by itself")


class Lane(BaseModel):
    queue: str = Field(description="The Celery queue of its hints")
    what: str = Field(description="The kind of work")
    lane: str = Field(
        description="An account, a receiver's host, a tenant with pictures to fetch, or `-` for "
        "work without a lane; `*` sums up the hosts or tenants that are not named"
    )
    lanes: int = Field(description="How many lanes the entry is about: 1, but of `*`")
    due: int = Field(description="Things whose time has come and that no worker holds")
    oldest_seconds: float = Field(description="How long the oldest of them waits; 0 without one")
    in_flight: int = Field(description="Things that a worker holds")
    pace: float = Field(
        description="From 0 to 1: the share of its requests at a time that rate limits leave it"
    )
    paused: LaneStop | None = Field(description="What holds it back, if anything does")


class LaneList(_Whole):
    data: list[Lane]


class Account(BaseModel):
    account: str = Field(description="`runway`, or `runway:team` of the variables `…__TEAM`")
    object: Literal["provider.account"]
    provider: str
    weight: float = Field(description="Its share of its provider's new jobs")
    paused_at: AwareDatetime | None
    paused_until: AwareDatetime | None = Field(description="null: until it is resumed")
    pause_reason: str | None
    blocked_at: AwareDatetime | None = Field(description="Since when its provider refuses it")
    block_code: str | None
    block_reason: str | None
    probe_at: AwareDatetime | None = Field(description="When it is tried again")
    cap_usd: float | None = Field(description="The most that it may spend in `cap_period`")
    cap_period: Literal["day", "month", "total"] | None
    spent_usd: float = Field(description="In the cap's period; without a cap in this month")
    unfinished: int = Field(description="Attempts that are to be sent, polled or looked up")
    waiting: int = Field(description="Those of them that it holds back")


class AccountList(_Whole):
    data: list[Account]
