"""GET /v1/models: every model with its limits, price and availability."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from math import inf
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.front import TenantRoute, front_of, in_time
from api.native.schemas import ModelList
from api.openapi import responses
from catalog.models import Catalog, Model
from catalog.resolve import retired, retired_in_words, successors
from catalog.routes import Frames, Price, Route
from models.records import Json
from models.request import MAX_COUNT
from providers.base import Account, Capabilities
from providers.registry import PROVIDERS, missing_variables
from tasks.engine import Engine
from tasks.lanes import Stop, account_stops

router = APIRouter(route_class=TenantRoute, tags=["Models"])


@router.get(
    "/v1/models",
    summary="List models",
    responses=responses(200, ModelList, "All of them"),
)
async def list_models(request: Request) -> Response:
    """Every model with its aliases, limits, price and capabilities, available, paused or not."""
    engine = front_of(request).engine
    stops = await read_stops(engine)
    models = [
        model_view(model, engine.catalog, engine.accounts, stops)
        for each in engine.catalog.models()
        for model in (each, *engine.catalog.by_provider(each))
    ]
    return answer({"data": models, "has_more": False, "next": None})


async def read_stops(engine: Engine) -> Mapping[str, Stop]:
    """Why accounts send nothing now, by account."""
    reading = partial(account_stops, accounts=sorted(engine.accounts))
    return await in_time(engine.database.run(reading))


def model_view(
    model: Model,
    catalog: Catalog,
    accounts: Mapping[str, Account],
    stops: Mapping[str, Stop] | None = None,
) -> Json:
    """One model on its active route: the first with an account, else the first that is served.

    `stops` has the accounts by which nothing is sent now.
    """
    providers = {account.provider for account in accounts.values()}
    routes = [route for route in model.routes.values() if not route.by_name_only]
    routes = routes or list(model.routes.values())
    live = next((route for route in routes if route.provider in providers), None)
    served = [route for route in routes if not retired(route)]
    route = live or (served or routes)[0]
    needed = " or ".join(missing_variables(each.provider) for each in served or routes)
    return {
        "id": model.name,
        "object": "model",
        "title": model.title,
        "aliases": list(model.aliases),
        "available": live is not None,
        "set_to_use": None if live else needed,
        "retired": None if live else _retired(route, model, catalog),
        "paused": _paused(route.provider, accounts, stops or {}),
        "provider": route.provider,
        "limits": _limits(route),
        "price": _price(route.price),
        "typical_seconds": {
            "p10": route.typical.p10,
            "p50": route.typical.p50,
            "p90": route.typical.p90,
        },
        "capabilities": _capabilities(PROVIDERS[route.provider].capabilities),
    }


def _retired(route: Route, model: Model, catalog: Catalog) -> Json | None:
    """Since when the vendor makes it no longer, and what to use; None if the vendor does."""
    gone = retired(route)
    if gone is None:
        return None
    return {
        "on": gone.on.isoformat(),
        "reason": retired_in_words(route, model.name),
        "use": list(successors(route, model, catalog)),
    }


def _paused(
    provider: str, accounts: Mapping[str, Account], stops: Mapping[str, Stop]
) -> Json | None:
    """Why no account of a provider sends anything now, and for how long; None if one does."""
    theirs = [name for name, account in accounts.items() if account.provider == provider]
    if not theirs or not all(name in stops for name in theirs):
        return None
    first = min((stops[name] for name in theirs), key=lambda stop: stop.seconds or inf)
    return {"code": first.code, "resumes_in_seconds": first.seconds}


def _limits(route: Route) -> Json:
    with_image = route.frames_for(with_image=True)
    return {
        "durations": sorted(route.durations),
        "default_duration": route.duration,
        "combinations": [each.model_dump(mode="json") for each in route.combinations],
        "resolutions": _unique([*route.frames, *with_image]),
        "default_resolution": route.resolution,
        "aspect_ratios": _unique(
            ratio
            for frames in (route.frames, with_image)
            for each in frames.values()
            for ratio in each
        ),
        "default_aspect_ratio": route.aspect_ratio,
        "sizes": _sizes(route.frames),
        "sizes_with_image": _sizes(with_image) if route.image != "none" else [],
        "fps": _unique((route.fps, *route.fps_choices)),
        "parameters": list(route.takes),
        "image": route.image,
        "last_image": route.last_image,
        "reference_images": route.reference_images,
        "reference_types": list(route.reference_types) if route.reference_images else [],
        "max_count": MAX_COUNT,
        "prompt": _prompt(route, with_image=False),
        "prompt_with_image": _prompt(route, with_image=True) if route.image != "none" else None,
        "data_uri_bytes": route.data_uri_bytes,
    }


def _prompt(route: Route, *, with_image: bool) -> Json | None:
    limit = route.prompt_limit_for(with_image=with_image)
    return {"most": limit.most, "unit": limit.unit} if limit else None


def _sizes(frames: Frames) -> list[str]:
    return [f"{width}x{height}" for ratios in frames.values() for width, height in ratios.values()]


def _price(price: Price) -> Json:
    with_audio = price.usd_per_second_with_audio
    return {
        "currency": "USD",
        "per_second": _dollars(price.usd_per_second),
        "per_second_with_audio": _dollars(with_audio) if with_audio else None,
        "date": price.date.isoformat(),
        "source": price.source,
    }


def _dollars(prices: Mapping[str, Decimal]) -> dict[str, float]:
    return {resolution: float(price) for resolution, price in prices.items()}


def _capabilities(capabilities: Capabilities) -> Json:
    return {
        "progress": "reported" if capabilities.progress else "estimated",
        "cancel": capabilities.cancel,
        "cancelled_costs": capabilities.cancelled_costs,
        "look_up": list(capabilities.look_up),
        "videos_per_attempt": capabilities.max_count,
        "synchronous": capabilities.synchronous,
        "sources": dict(capabilities.sources),
    }


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
