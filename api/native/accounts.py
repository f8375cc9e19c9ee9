"""Provider accounts, for operators: list, pause, resume and cap them, with an admin key."""

from typing import Annotated, Any, Final, TypeVar

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import read_json
from api.front import AdminRoute, Front, front_of, in_time, key_of
from api.native.listing import take_no_parameters
from api.native.ops_schemas import AccountList
from api.openapi import body_of, responses
from models.accounts import Listed
from models.dollars import MOST_DOLLARS, micros_from
from models.failure import RequestRefused
from models.records import Json
from models.request import refused
from models.text import Text
from providers.registry import provider_of
from tasks import accounts
from tasks.view import iso, usd

log = structlog.get_logger()

router = APIRouter(route_class=AdminRoute, tags=["Operations"])

_Body = TypeVar("_Body", bound=BaseModel)


class Pause(BaseModel):
    """The body of a pause; without one, or with `{}`, it lasts until a resume."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seconds: int | None = Field(
        default=None, ge=1, le=accounts.LONGEST_PAUSE, description="How long; null: until a resume"
    )
    reason: Annotated[Text, Field(min_length=1, max_length=accounts.LONGEST_REASON)] | None = Field(
        default=None, description="Shown to operators"
    )


class Cap(BaseModel):
    """The body of a cap."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cap_usd: float = Field(
        gt=0,
        le=MOST_DOLLARS,
        allow_inf_nan=False,
        description="The most that the account may spend in a period, in US dollars; 6 decimals",
    )
    cap_period: accounts.Period = Field(description="The period, in UTC; `total`: all time")

    @property
    def micros(self) -> int:
        """The amount in millionths of a US dollar; raises RequestRefused for a finer one."""
        try:
            return micros_from(f"{self.cap_usd:.15g}", name="cap_usd")
        except ValueError as error:
            raise RequestRefused(str(error), param="cap_usd") from None


_BODY: Final[dict[str, Any]] = body_of(Pause, required=False)


@router.get(
    "/v1/ops/providers",
    summary="Accounts at providers",
    responses=responses(200, AccountList, "Those with credentials, jobs or rules", 400),
)
async def list_accounts(request: Request) -> Response:
    """Each account's weight, pause, block, cap and use. It needs an admin key.

    `spent_usd` is of the cap's period, and of this month without a cap.
    """
    take_no_parameters(request)
    front = front_of(request)
    return _list(front, await in_time(accounts.list_accounts(front.engine)))


@router.post(
    "/v1/ops/providers/{account}/pause",
    summary="Pause an account or a provider",
    responses=responses(200, AccountList, "The accounts that it is about", 400, 404, 413),
    openapi_extra=_BODY,
)
async def pause(request: Request, account: str) -> Response:
    """Send nothing new by an account, or by all of a provider; what was sent goes on.

    It needs an admin key, whose id the log keeps with the pause.
    """
    front = front_of(request)
    wanted = read_pause(await read_json(request) if await request.body() else {})
    found = await in_time(
        accounts.pause(front.engine, account, seconds=wanted.seconds, reason=wanted.reason)
    )
    audit(request, "account.paused", account, seconds=wanted.seconds, reason=wanted.reason)
    return _list(front, found)


@router.post(
    "/v1/ops/providers/{account}/resume",
    summary="Resume an account or a provider",
    responses=responses(200, AccountList, "The accounts that it is about", 404, 409),
)
async def resume(request: Request, account: str) -> Response:
    """End the pause of an account, or of a provider and all its accounts, also by the provider.

    It needs an admin key, whose id the log keeps with the resume.
    """
    front = front_of(request)
    found = await in_time(accounts.resume(front.engine, account))
    audit(request, "account.resumed", account)
    return _list(front, found)


@router.put(
    "/v1/ops/providers/{account}/cap",
    summary="Cap what an account may spend",
    responses=responses(200, AccountList, "The account", 400, 404, 413),
    openapi_extra=body_of(Cap),
)
async def set_cap(request: Request, account: str) -> Response:
    """Set an account's cap, above which it sends nothing; what it has spent in the period counts.

    Requires an admin key, whose id is logged with the cap. A provider's name means its account
    without a suffix.
    """
    front = front_of(request)
    wanted = read_cap(await read_json(request))
    found = await in_time(
        accounts.set_cap(front.engine, account, micros=wanted.micros, period=wanted.cap_period)
    )
    audit(request, "account.capped", account, **wanted.model_dump(mode="json"))
    return _list(front, found)


@router.delete(
    "/v1/ops/providers/{account}/cap",
    summary="Remove an account's cap",
    responses=responses(200, AccountList, "The account", 404),
)
async def remove_cap(request: Request, account: str) -> Response:
    """Remove an account's cap; an account without one is unchanged.

    Requires an admin key, whose id is logged with the removal.
    """
    front = front_of(request)
    found = await in_time(accounts.remove_cap(front.engine, account))
    audit(request, "account.uncapped", account)
    return _list(front, found)


def read_pause(body: object) -> Pause:
    """The validated body of a pause; raises RequestRefused."""
    return _validated(Pause, body)


def read_cap(body: object) -> Cap:
    """The validated body of a cap; raises RequestRefused."""
    return _validated(Cap, body)


def _validated(model: type[_Body], body: object) -> _Body:
    if not isinstance(body, dict):
        msg = "the request body must be a JSON object"
        raise RequestRefused(msg)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise refused(error, known=model.model_fields) from None


def audit(request: Request, event: str, account: str, **details: object) -> None:
    """Note in the log what an operator did with an account, and by which key or session."""
    key = key_of(request)
    log.info(event, account=account, by_key=key.id, by_tenant=key.tenant, **details)


def _list(front: Front, found: list[Listed]) -> Response:
    shown = [_view(front, one) for one in found]
    return answer({"data": shown, "has_more": False, "next": None})


def _view(front: Front, one: Listed) -> Json:
    """The account in the words of `longtake providers list --json`, with amounts in dollars."""
    capped = one.cap_micros is not None
    return {
        "account": one.name,
        "object": "provider.account",
        "provider": provider_of(one.name),
        "weight": front.engine.catalog.weight(one.name),
        "paused_at": iso(one.paused_at),
        "paused_until": iso(one.paused_until),
        "pause_reason": one.pause_reason,
        "blocked_at": iso(one.blocked_at),
        "block_code": one.block_code,
        "block_reason": one.block_reason,
        "probe_at": iso(one.probe_at),
        "cap_usd": usd(one.cap_micros or 0) if capped else None,
        "cap_period": one.cap_period,
        "spent_usd": usd(one.spent_micros),
        "unfinished": one.unfinished,
        "waiting": one.waiting,
    }
