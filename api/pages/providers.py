"""Providers, for operators: accounts and their lanes, pauses and caps, learned durations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.front import front_of, in_time
from api.native.accounts import audit, read_cap, read_pause
from api.native.listing import take_no_parameters
from api.pages.live import watched
from api.pages.rendering import Entry, Links, page
from api.pages.visits import ROOT, OperatorsRoute, amount_in, form_of, only_field, visit_of
from models.accounts import Listed
from models.failure import RequestRefused, not_found
from providers.registry import PLAIN, PROVIDERS, provider_of
from tasks import accounts
from tasks.engine import Engine
from tasks.lanes import FULL_PACE, LaneState, read_lanes
from tasks.learned import Learned, list_learned

ENTRY: Final = Entry(title="Providers", path="providers", is_operators=True)
#: How long a pause may be by the form, in seconds, and in words; "": until it is resumed.
PAUSES: Final = {
    "": "until it is resumed",
    "900": "15 minutes",
    "3600": "1 hour",
    "21600": "6 hours",
    "86400": "1 day",
}
#: The periods of a cap, in words.
PERIODS: Final[Mapping[accounts.Period, str]] = {
    "day": "a day",
    "month": "a month",
    "total": "in all",
}
#: The length of the line on which durations are drawn.
_LINE: Final = 1000
_SEE_OTHER: Final = 303

router = APIRouter(include_in_schema=False, route_class=OperatorsRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLine:
    """An account as pages show it."""

    account: Listed
    weight: float
    lanes: Sequence[LaneState]

    @property
    def provider(self) -> str:
        return provider_of(self.account.name)

    @property
    def is_held(self) -> bool:
        return self.account.paused_at is not None or self.account.blocked_at is not None

    @property
    def slowest(self) -> LaneState | None:
        """Its lane that rate limits slow down most; None if none is slowed down."""
        slowed = [
            each
            for each in self.lanes
            if each.pace < FULL_PACE or (each.paused and each.paused.code == "rate_limited")
        ]
        return min(slowed, key=lambda each: each.pace, default=None)

    @property
    def percent(self) -> int | None:
        """How much of its cap is used; None without a cap."""
        cap = self.account.cap_micros
        if cap is None:
            return None
        return min(100, 100 * self.account.spent_micros // cap) if cap else 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A route's durations, drawn on a line from 0 to the longest one of all that are shown."""

    learned: Learned
    begins: int
    middle: int
    ends: int


@router.get(f"{ROOT}/providers")
async def list_accounts(request: Request) -> Response:
    """Every known account, and what operations took lately."""
    take_no_parameters(request)
    live = await watched(request)
    engine = front_of(request).engine
    lines = await _lines(engine)
    return page(
        request,
        "providers.html",
        title="Providers",
        entry=ENTRY,
        live=live,
        lines=lines,
        spreads=spreads_of(await in_time(list_learned(engine))),
    )


@router.get(f"{ROOT}/providers/{{account}}")
async def show(request: Request, account: str) -> Response:
    """One account: its lanes, what holds it back, and what its operations took lately."""
    take_no_parameters(request)
    live = await watched(request)
    engine = front_of(request).engine
    lines = await _lines(engine)
    line = next((each for each in lines if each.account.name == account), None)
    if line is None:
        raise not_found("Account")
    provider = line.provider
    learned = await in_time(list_learned(engine))
    others = [each for each in lines if each.provider == provider and each is not line]
    return page(
        request,
        "provider.html",
        title=f"Account {account}",
        entry=ENTRY,
        live=live,
        line=line,
        others=others,
        target=f"{account}:{PLAIN}" if account in PROVIDERS else account,
        pauses=PAUSES,
        longest_reason=accounts.LONGEST_REASON,
        periods=PERIODS,
        spreads=spreads_of([each for each in learned if each.route.split("/")[0] == provider]),
        may_change=not visit_of(request).session.is_read_only,
    )


@router.post(f"{ROOT}/providers/{{account}}/pause")
async def pause(request: Request, account: str) -> Response:
    """Send nothing new by an account, or by all of a provider."""
    form = form_of(request)
    given = only_field(form, "seconds")
    if given is not None and not (given.isascii() and given.isdecimal() and len(given) <= 9):  # noqa: PLR2004 - an int
        msg = f"seconds must be a whole number, or empty (it is {given[:64]!r})"
        raise RequestRefused(msg, param="seconds")
    seconds = None if given is None else int(given)
    wanted = read_pause({"seconds": seconds, "reason": only_field(form, "reason")})
    found = await in_time(
        accounts.pause(
            front_of(request).engine, account, seconds=wanted.seconds, reason=wanted.reason
        )
    )
    audit(request, "account.paused", account, seconds=wanted.seconds, reason=wanted.reason)
    return _to(request, found)


@router.post(f"{ROOT}/providers/{{account}}/resume")
async def resume(request: Request, account: str) -> Response:
    """End the pause of an account, or of a provider and all its accounts."""
    found = await in_time(accounts.resume(front_of(request).engine, account))
    audit(request, "account.resumed", account)
    return _to(request, found)


@router.post(f"{ROOT}/providers/{{account}}/cap")
async def set_cap(request: Request, account: str) -> Response:
    """Limit what an account may spend."""
    form = form_of(request)
    usd = amount_in(only_field(form, "cap_usd"), "cap_usd")
    wanted = read_cap({"cap_usd": usd, "cap_period": only_field(form, "cap_period")})
    found = await in_time(
        accounts.set_cap(
            front_of(request).engine, account, micros=wanted.micros, period=wanted.cap_period
        )
    )
    audit(request, "account.capped", account, **wanted.model_dump(mode="json"))
    return _to(request, found)


@router.post(f"{ROOT}/providers/{{account}}/cap/delete")
async def remove_cap(request: Request, account: str) -> Response:
    """Let an account spend without a limit."""
    found = await in_time(accounts.remove_cap(front_of(request).engine, account))
    audit(request, "account.uncapped", account)
    return _to(request, found)


def spreads_of(learned: Sequence[Learned]) -> list[Spread]:
    """The durations to one scale."""
    most = max((each.p90 for each in learned), default=0.0) or 1.0

    def place(value: float) -> int:
        return round(_LINE * max(0.0, value) / most)

    return [
        Spread(learned=each, begins=place(each.p10), middle=place(each.p50), ends=place(each.p90))
        for each in learned
    ]


async def _lines(engine: Engine) -> list[AccountLine]:
    found = await in_time(accounts.list_accounts(engine))
    lanes = await in_time(read_lanes(engine))
    return [
        AccountLine(
            account=each,
            weight=engine.catalog.weight(each.name),
            lanes=[lane for lane in lanes if lane.lane == each.name],
        )
        for each in found
    ]


def _to(request: Request, found: Sequence[Listed]) -> Response:
    """To the account that it was about, or to all if it was about several."""
    links = Links(front_of(request).engine.settings.ui_prefix)
    one = [found[0].name] if len(found) == 1 else []
    return RedirectResponse(links("providers", *one), _SEE_OTHER)
