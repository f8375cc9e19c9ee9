"""Models: what the catalogue offers, with providers, limits and prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, in_time, key_of
from api.native.listing import take_no_parameters
from api.native.models import model_view, read_stops
from api.pages.providers import spreads_of
from api.pages.rendering import Entry, page
from api.pages.visits import ROOT, PageRoute
from catalog.models import Model
from catalog.ranges import as_ranges
from models.failure import RequestRefused, not_found
from models.records import Json
from tasks.engine import Engine
from tasks.lanes import Stop
from tasks.learned import list_learned

ENTRY: Final = Entry(title="Models", path="models")

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a second costs at one resolution, in millionths of a dollar; None: not offered."""

    resolution: str
    micros: int
    with_audio: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model, or one provider's offer of it, as pages show it."""

    view: Json
    #: The accounts of its providers.
    accounts: Sequence[str]

    @property
    def seconds(self) -> str:
        return as_ranges(self.view["limits"]["durations"])

    @property
    def prices(self) -> Sequence[Price]:
        """By resolution, in the catalogue's order."""
        price = self.view["price"]
        with_audio = price["per_second_with_audio"] or {}
        return [
            Price(
                resolution=resolution,
                micros=_micros(dollars),
                with_audio=_micros(with_audio[resolution]) if resolution in with_audio else None,
            )
            for resolution, dollars in price["per_second"].items()
        ]

    @property
    def cheapest(self) -> int:
        return min(each.micros for each in self.prices)

    @property
    def dearest(self) -> int:
        return max(max(each.micros, each.with_audio or 0) for each in self.prices)


@router.get(f"{ROOT}/models")
async def list_models(request: Request) -> Response:
    """Every model; those that can be requested come first."""
    take_no_parameters(request)
    engine = front_of(request).engine
    stops = await read_stops(engine)
    offers = [_offer(engine, model, stops) for model in engine.catalog.models()]
    return page(
        request,
        "models.html",
        title="Models",
        entry=ENTRY,
        offers=sorted(offers, key=lambda each: not each.view["available"]),
    )


@router.get(f"{ROOT}/models/{{name:path}}")
async def show(request: Request, name: str) -> Response:
    """One model by any of its names: its limits, prices and providers."""
    take_no_parameters(request)
    engine = front_of(request).engine
    model = _find(engine, name)
    stops = await read_stops(engine)
    learned = await in_time(list_learned(engine)) if key_of(request).is_admin else []
    routes = {f"{route.provider}/{route.upstream}" for route in model.routes.values()}
    return page(
        request,
        "model.html",
        title=f"Model {model.name}",
        entry=ENTRY,
        offer=_offer(engine, model, stops),
        routes=[_offer(engine, each, stops) for each in engine.catalog.by_provider(model)],
        spreads=spreads_of([each for each in learned if each.route.rpartition("/")[0] in routes]),
    )


def _find(engine: Engine, name: str) -> Model:
    """The model with all its routes, including those that a request must name."""
    try:
        found = engine.catalog.find(name)
    except RequestRefused:
        raise not_found("Model") from None
    return engine.catalog.by_name[found.name]


def _offer(engine: Engine, model: Model, stops: Mapping[str, Stop]) -> Offer:
    providers = {route.provider for route in model.routes.values()}
    return Offer(
        view=model_view(model, engine.catalog, engine.accounts, stops),
        accounts=sorted(
            name for name, account in engine.accounts.items() if account.provider in providers
        ),
    )


def _micros(dollars: float) -> int:
    return round(dollars * 1_000_000)
