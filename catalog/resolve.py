"""Resolves a request to a plan: route, values and price; pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from typing import NoReturn

from catalog.accounts import Pick, pick_any
from catalog.models import Catalog, Model
from catalog.plan import Plan
from catalog.routes import Combination, Frames, Route
from models.failure import RequestRefused
from models.request import VideoRequest
from models.scene import OPTIONAL, PICTURES, Picture, Scene
from providers.base import Account, Retired
from providers.registry import PROVIDERS, missing_variables


def resolve(
    request: VideoRequest, catalog: Catalog, accounts: Mapping[str, Account], pick: Pick = pick_any
) -> Plan:
    """The plan on the model's first route that has an account and supports the request.

    `pick` chooses among the accounts of the route's provider.

    Raises:
        RequestRefused: unknown model, no credentials, or no suitable route; gives the first route's
            reason.
    """
    model = catalog.find(request.model)
    refusals: list[RequestRefused] = []
    for route, shares in usable_routes(model, catalog, accounts, asked=request.model):
        try:
            plan = plan_on(request, model=model, route=route)
        except RequestRefused as refusal:
            refusals.append(refusal)
        else:
            return replace(plan, account=pick(shares, plan.estimated_cost_micros))
    raise refusals[0]


def usable_routes(
    model: Model, catalog: Catalog, accounts: Mapping[str, Account], *, asked: str
) -> list[tuple[Route, Mapping[str, float]]]:
    """The model's routes that have an account, preferred first, with their accounts' weights.

    Raises:
        RequestRefused: there is none, or all weights are 0.
    """
    usable = [
        (route, names)
        for route in model.routes.values()
        if (names := tuple(one.name for one in accounts.values() if one.provider == route.provider))
    ]
    if not usable:
        raise _unavailable(model, catalog, asked=asked)
    open_: list[tuple[Route, Mapping[str, float]]] = [
        (route, shares)
        for route, names in usable
        if (shares := {name: catalog.weight(name) for name in names if catalog.weight(name)})
    ]
    if not open_:
        closed = ", ".join(name for _, names in usable for name in names)
        msg = f"model {asked} takes no new jobs: the weight of {closed} is 0"
        raise RequestRefused(msg, type="model_unavailable", param="model")
    return open_


def _unavailable(model: Model, catalog: Catalog, *, asked: str) -> RequestRefused:
    """Why no route of the model has an account: what to set, or what to use instead."""
    served = [route.provider for route in model.routes.values() if not retired(route)]
    if served:
        needed = " or ".join(map(missing_variables, served))
        msg = f"model {asked} needs {needed} to be set"
        return RequestRefused(msg, type="model_unavailable", param="model")
    route = next(iter(model.routes.values()))
    use = " or ".join(successors(route, model, catalog)) or "another model of GET /v1/models"
    msg = (
        f"{retired_in_words(route, asked)}; use {use}, or a gateway that still makes it: set "
        f"{missing_variables(route.provider)}"
    )
    return RequestRefused(msg, type="model_unavailable", code="model_retired", param="model")


def retired(route: Route) -> Retired | None:
    """Whether the route's vendor no longer serves it, so that it needs a gateway."""
    return PROVIDERS[route.provider].retired


def retired_in_words(route: Route, asked: str) -> str:
    """Who retired it and when; nothing for a route that is served."""
    gone = retired(route)
    return f"{gone.vendor} retired {asked} on {gone.on}" if gone else ""


def successors(route: Route, model: Model, catalog: Catalog) -> tuple[str, ...]:
    """The names of models to use instead of one on a retired route: its own, if others make it."""
    whole = catalog.by_name.get(model.name.rpartition("/")[2], model)
    others = [each for each in whole.routes.values() if not (retired(each) or each.by_name_only)]
    gone = retired(route)
    return (*((whole.name,) if others else ()), *(gone.instead if gone else ()))


def plan_on(request: VideoRequest, *, model: Model, route: Route) -> Plan:
    """The plan on one route, without a choice of accounts.

    Raises:
        RequestRefused: naming field, value and what is allowed.
    """
    ignored = _unsupported(request, route)
    if ignored and request.unsupported == "refuse":
        _refuse_unsupported(request, route, ignored[0])
    scene = request.scene(without=ignored)
    if scene.audio is None:
        scene = scene.model_copy(update={"audio": route.audio})
    _check_prompt(request, route)
    _check_pictures(request, route, scene)
    frames = _frames(request, route, scene)
    resolution, aspect_ratio = _frame(request, frames, route=route)
    duration = _duration(request, route, scene, resolution)
    width, height = frames[resolution][aspect_ratio]
    plan = Plan(
        model=model.name,
        asked_model=request.model,
        route=route.name,
        provider=route.provider,
        account=route.provider,
        upstream=route.upstream,
        scene=scene,
        attempt_counts=attempt_counts(
            request.count, most=PROVIDERS[route.provider].capabilities.max_count
        ),
        duration_seconds=duration,
        resolution=resolution,
        aspect_ratio=aspect_ratio,
        width=width,
        height=height,
        fps=route.fps if "fps" in ignored else request.fps or route.fps,
        fps_is_sent=bool(route.fps_choices),
        estimated_cost_micros=cost_micros(
            route.price.per_second(resolution, audio=scene.audio),
            seconds=duration,
            count=request.count,
        ),
        typical_seconds=(route.typical.p10, route.typical.p50, route.typical.p90),
        ignored=ignored,
    )
    _check_cost(request, plan)
    return plan


def attempt_counts(count: int, *, most: int) -> tuple[int, ...]:
    """Videos per attempt: the fewest attempts of at most `most` videos each."""
    full, rest = divmod(count, most)
    return (most,) * full + ((rest,) if rest else ())


def cost_micros(usd_per_second: Decimal, *, seconds: int, count: int) -> int:
    """The price of `count` videos in millionths of a dollar, rounded up."""
    micros = usd_per_second * seconds * count * 1_000_000
    return int(micros.to_integral_value(rounding=ROUND_CEILING))


def _unsupported(request: VideoRequest, route: Route) -> tuple[str, ...]:
    """The requested parameters that the route does not support."""
    asked = [name for name in OPTIONAL if getattr(request, name) not in (None, ())]
    missing = [name for name in asked if name not in route.takes]
    if "reference_images" not in missing and _wrong_types(request, route):
        missing.append("reference_images")
    if request.fps is not None and request.fps not in (route.fps, *route.fps_choices):
        missing.append("fps")
    return tuple(missing)


def _wrong_types(request: VideoRequest, route: Route) -> list[int]:
    """Positions of the reference images whose type the route can't carry."""
    given = enumerate(request.reference_images)
    return [at for at, each in given if each.type not in route.reference_types]


def _refuse_unsupported(request: VideoRequest, route: Route, name: str) -> NoReturn:
    value = getattr(request, name)
    if name == "reference_images" and name in route.takes:
        at, *_ = _wrong_types(request, route)
        types = ", ".join(route.reference_types)
        _refuse(
            f"{name}[{at}].type",
            f"must be one of {types} for the {request.model} model (it is {value[at].type})",
        )
    if name == "fps":
        allowed = _listed(sorted({route.fps, *route.fps_choices}))
        _refuse("fps", f"must be {allowed} for the {request.model} model (it is {value})")
    shown = "an image" if name in PICTURES else repr(value)[:64]
    takes = (
        f"it takes {', '.join(route.takes)}" if route.takes else "it takes no optional parameters"
    )
    _refuse(name, f"is not supported by the {request.model} model (it is {shown}); {takes}")


def _check_prompt(request: VideoRequest, route: Route) -> None:
    limit = route.prompt_limit_for(with_image=request.image is not None)
    if limit and (length := limit.length(request.prompt)) > limit.most:
        unit = "UTF-16 code units" if limit.unit == "utf16" else "characters"
        _refuse(
            "prompt",
            f"exceeds maximum of {limit.most} {unit} for {request.model} model (it has {length})",
        )


def _check_pictures(request: VideoRequest, route: Route, scene: Scene[Picture]) -> None:
    if route.image == "required" and scene.image is None:
        _refuse("image", f"is required for the {request.model} model")
    if route.last_image == "with_image" and scene.last_image and not scene.image:
        _refuse("last_image", f"needs image as well for the {request.model} model")
    if (given := len(scene.reference_images)) > route.reference_images:
        most = f"exceeds maximum of {route.reference_images} for {request.model} model"
        _refuse("reference_images", f"{most} (there are {given})")
    for name, picture in scene.pictures():
        _check_picture(request, route, name, picture)


def _check_picture(request: VideoRequest, route: Route, name: str, picture: Picture) -> None:
    longest = route.data_uri_bytes
    if not isinstance(picture, str):
        if longest == 0:
            _refuse(name, f"must be a URL for {request.model} model (it is an earlier job's frame)")
    elif longest == 0 and picture.startswith("data:"):
        _refuse(name, f"must be a URL for {request.model} model (it is a data URI)")
    elif not picture.startswith("data:"):
        pass  # a URL: the provider fetches it, or we inline it before sending
    elif longest is not None and len(picture) > longest:
        most = f"exceeds maximum of {longest} bytes as a data URI"
        _refuse(name, f"{most} for {request.model} model (it has {len(picture)})")


def _frames(request: VideoRequest, route: Route, scene: Scene[Picture]) -> Frames:
    """The sizes in which the vendor makes a video with the scene's pictures, of any duration."""
    given = scene.given_pictures
    frames = route.frames_for(with_image="image" in given)
    left = {name: each for name, each in frames.items() if route.durations_with(given, name)}
    if not left:
        _refuse_combination(request, route.narrowing(given, next(iter(frames))))
    sizes = _sizes(frames)
    size = request.size if request.size in sizes else None
    asked = sizes[size][0] if size else request.resolution
    if asked in frames and asked not in left:
        narrower = route.narrowing(given, asked)
        pictures = [each.model_copy(update={"resolutions": ()}) for each in narrower]
        among = "".join(f" {each}" for each in pictures if not each.durations)
        if size:
            _refuse("size", _one_of(_sizes(left), request, size, among=among))
        _refuse("resolution", _one_of(left, request, asked, among=among))
    return left


def _refuse_combination(request: VideoRequest, narrower: Sequence[Combination]) -> NoReturn:
    """Blame the picture that is missing, else the first that the combination names."""
    named = (each for each in narrower if not each.durations and (each.given or each.without))
    if (each := next(named, None)) is None:
        _refuse("duration_seconds", f"can't be met {' '.join(map(str, narrower))}")
    if each.without:
        with_others = f" with {' and '.join(each.given)}" if each.given else ""
        _refuse(each.without[0], f"is required{with_others} for the {request.model} model")
    name, *others = each.given
    what = f"can't be combined with {' and '.join(others)}" if others else "is not supported"
    value = getattr(request, name)
    shown = f"there are {len(value)}" if isinstance(value, tuple) else "it is an image"
    _refuse(name, f"{what} for the {request.model} model ({shown})")


def _duration(request: VideoRequest, route: Route, scene: Scene[Picture], resolution: str) -> int:
    asked = request.duration_seconds
    given = scene.given_pictures
    durations = route.durations_with(given, resolution)
    if asked is None:
        return min(durations, key=lambda seconds: abs(seconds - route.duration))
    if asked not in durations:
        narrower = " ".join(map(str, route.narrowing(given, resolution)))
        _refuse_duration(request, durations, asked, narrower=narrower)
    return asked


def _refuse_duration(
    request: VideoRequest, durations: Sequence[int], asked: int, *, narrower: str
) -> NoReturn:
    allowed, model = _listed(sorted(durations)), f"for {request.model} model"
    if narrower:
        _refuse("duration_seconds", f"must be {allowed} {narrower} {model} (it is {asked})")
    if asked > max(durations):
        _refuse("duration_seconds", f"exceeds maximum of {max(durations)} {model}")
    _refuse("duration_seconds", f"must be {allowed} {model} (it is {asked})")


def _frame(request: VideoRequest, frames: Frames, *, route: Route) -> tuple[str, str]:
    """Resolution and aspect ratio, from `size` or from the two fields."""
    if request.size is not None:
        return _frame_of_size(request, frames)
    usual = route.resolution if route.resolution in frames else next(iter(frames))
    resolution = request.resolution or usual
    if resolution not in frames:
        _refuse("resolution", _one_of(frames, request, resolution))
    aspect_ratio = request.aspect_ratio or route.aspect_ratio
    if aspect_ratio not in frames[resolution]:
        _refuse("aspect_ratio", _one_of(frames[resolution], request, aspect_ratio))
    return resolution, aspect_ratio


def _frame_of_size(request: VideoRequest, frames: Frames) -> tuple[str, str]:
    for other in ("resolution", "aspect_ratio"):
        if getattr(request, other) is not None:
            _refuse("size", f"can't be combined with {other} (it is {request.size})")
    sizes = _sizes(frames)
    size = str(request.size)
    if size not in sizes:
        _refuse("size", _one_of(sizes, request, size))
    return sizes[size]


def _sizes(frames: Frames) -> dict[str, tuple[str, str]]:
    """Resolution and aspect ratio by size."""
    return {
        f"{width}x{height}": (resolution, aspect_ratio)
        for resolution, ratios in frames.items()
        for aspect_ratio, (width, height) in ratios.items()
    }


def _check_cost(request: VideoRequest, plan: Plan) -> None:
    if request.max_cost_usd is None:
        return
    if plan.estimated_cost_micros > Decimal(str(request.max_cost_usd)) * 1_000_000:
        least = Decimal(plan.estimated_cost_micros) / 1_000_000
        what = f"{request.count} x {plan.duration_seconds} s at {plan.resolution}"
        _refuse(
            "max_cost_usd",
            f"must be at least {least:f} for {request.model} model, {what} "
            f"(it is {request.max_cost_usd})",
        )


def _one_of(
    allowed: Mapping[str, object], request: VideoRequest, value: str, *, among: str = ""
) -> str:
    return f"must be one of {', '.join(allowed)}{among} for {request.model} model (it is {value})"


def _listed(values: list[int]) -> str:
    """[5, 10] is "one of 5, 10", [2, 3, 4] is "2 to 4", [24] is "24"."""
    if len(values) == 1:
        return str(values[0])
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):  # noqa: PLR2004 - two values are listed
        return f"{values[0]} to {values[-1]}"
    return f"one of {', '.join(map(str, values))}"


def _refuse(param: str, what: str) -> NoReturn:
    msg = f"{param} {what}"
    raise RequestRefused(msg, param=param)
