"""Adapts a request to the nearest that a model can make, for the APIs of other systems.

The native API refuses what a model can't make. Those systems' documents allow values whatever the
model, so a dialect adapts: the duration to the nearest that the route makes (the longer on a tie),
resolution, ratio and size to the nearest frame; what can't be carried is dropped, but a first frame
never, since the video would be another one. Maximums are enforced all the same. Pure functions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from catalog.gateways import gateways_for
from catalog.models import Catalog
from catalog.nearest import nearest_duration, nearest_frame
from catalog.resolve import plan_on, usable_routes
from catalog.routes import Route
from models.failure import RequestRefused
from models.request import DEFAULT_MODEL, VideoRequest
from models.scene import (
    DEFAULT_TYPE,
    KNOBS,
    MOST_REFERENCES,
    OPTIONAL,
    Picture,
    Reference,
    Scene,
)
from providers.base import Account

#: The order in which changes are listed: that of the request's fields, the scene's last.
FIELDS: Final = (
    *(name for name in VideoRequest.model_fields if name not in Scene.model_fields),
    *Scene.model_fields,
)
#: What is adapted per route, and so not given to the request before one is chosen.
_FITTED: Final = ("duration_seconds", "resolution", "aspect_ratio", "size")
#: Dropped also for a value that no model takes.
_DROPPABLE: Final = frozenset({*KNOBS, "fps"})
_SEEDS: Final = 2**32
#: Maximum characters of a value in the list of changes.
_SHOWN: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field that is made otherwise than it was asked for; `made` is None for a dropped one."""

    field: str
    asked: object = None
    made: object | None = None

    def __str__(self) -> str:
        if self.made is None:
            return self.field
        return f"{self.field}={_shown(self.made)} (asked {_shown(self.asked)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """A request that its model can make, and what was changed to that end."""

    request: VideoRequest
    #: In the order of FIELDS.
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        """As in `duration_seconds=5 (asked 4), fps`: dropped parameters by name alone."""
        return ", ".join(map(str, self.changes))

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(change.field for change in self.changes if change.made is None)


def adapt(
    fields: Mapping[str, Any],
    *,
    catalog: Catalog,
    accounts: Mapping[str, Account],
    gate_models: Sequence[str] = (),
) -> Adapted:
    """The request nearest to `fields` that can be made; None in them is a field that is not set.

    `fields` are the native request's, checked against the dialect's own document before; the
    duration may be any positive number. Without a `model` it is the default one. With a `gate`,
    `gate_models` are its models in their order: the request is adapted to the first that can make
    it, or to the `model` that the fields set, and leaves the choice to the gate.

    A model without credentials of its own is made by a gateway that sells it and has some.

    Raises:
        RequestRefused: an unknown model, no credentials, a value beyond a maximum, or a field that
            can be neither carried nor dropped; of several models the first one's reason.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if gate_models:
        names = [given["model"], *gate_models[1:]] if "model" in given else list(gate_models)
    else:
        names = [given.get("model", DEFAULT_MODEL)]
    return _to_first_of(names, given, _Sources(catalog, accounts))


class _Sources(NamedTuple):
    catalog: Catalog
    accounts: Mapping[str, Account]


def _to_first_of(
    names: Sequence[str],
    given: Mapping[str, Any],
    sources: _Sources,
    changes: Collection[Change] = (),
) -> Adapted:
    """To the first model that can make it; with no credentials of its own, at a gateway."""
    refusals: dict[str, RequestRefused] = {}
    for name in names:
        try:
            return _to_model(name, given, sources, asked=name, changes=changes)
        except RequestRefused as refusal:
            refusals.setdefault(name, refusal)
    for name, unavailable in tuple(refusals.items()):
        for at_gateway in gateways_for(name, unavailable, *sources):
            try:
                return _to_model(at_gateway, given, sources, asked=name, changes=changes)
            except RequestRefused as refusal:
                if refusals[name] is unavailable:
                    refusals[name] = refusal
    raise next(iter(refusals.values()))


def _to_model(
    named: str,
    given: Mapping[str, Any],
    sources: _Sources,
    *,
    asked: str,
    changes: Collection[Change],
) -> Adapted:
    """To a model by its name, which for a gateway's is not the one that was asked for."""
    model = sources.catalog.find(named)
    usable = [route for route, _ in usable_routes(model, *sources, asked=named)]
    is_free = "gate" in given and "model" not in given
    if "image" not in given and all(route.image == "required" for route in usable):
        instead = model.without_image
        if instead is not None and not is_free and not changes:
            swap = Change(field="model", asked=asked, made=instead)
            return _to_first_of([instead], given, sources, changes=(swap,))
    own = {} if is_free else {"model": named}
    draft = _draft({**given, **own})
    best: Adapted | None = None
    refusals: list[RequestRefused] = []
    for route in usable:
        try:
            fitted = _to_route(draft, given, route, asked_model=asked)
            made = fitted.request.model_copy(update={"model": named, "gate": None})
            plan_on(made, model=model, route=route)
        except RequestRefused as refusal:
            refusals.append(refusal)
        else:
            best = fitted if best is None or _cost(fitted) < _cost(best) else best
    if best is None:
        raise _reason(refusals, usable, given, asked_model=asked)
    return Adapted(request=best.request, changes=_sorted([*changes, *best.changes]))


class _Draft(NamedTuple):
    """The request without what depends on the route."""

    request: VideoRequest
    changes: tuple[Change, ...]


def _draft(given: Mapping[str, Any]) -> _Draft:
    """The native request, without the parameters whose values no model takes."""
    values = {name: value for name, value in given.items() if name not in _FITTED}
    changes: list[Change] = []
    seed = values.get("seed")
    if isinstance(seed, int | float) and not isinstance(seed, bool):
        values["seed"] = int(seed) % _SEEDS  # the same seed still gives the same video
        if values["seed"] != seed:
            changes.append(Change(field="seed", asked=seed, made=values["seed"]))
    references = values.get("reference_images")
    if isinstance(references, list) and len(references) > MOST_REFERENCES:
        values["reference_images"] = references[:MOST_REFERENCES]
        cut = Change(field="reference_images", asked=len(references), made=MOST_REFERENCES)
        changes.append(cut)
    while True:
        try:
            return _Draft(VideoRequest.from_json(values), tuple(changes))
        except RequestRefused as refusal:
            field = (refusal.param or "").partition(".")[0]
            if field not in _DROPPABLE or field not in values:
                raise
            changes = [change for change in changes if change.field != field]
            changes.append(Change(field=field, asked=values.pop(field)))


def _to_route(
    draft: _Draft, given: Mapping[str, Any], route: Route, *, asked_model: str
) -> Adapted:
    """The request as the route can make it; raises RequestRefused beyond its maximums."""
    request, more = _fitted(draft.request, route)
    changes = _merged(draft.changes, more)
    pictures = request.given_pictures
    frames = route.frames_for(with_image="image" in pictures)
    frames = {name: each for name, each in frames.items() if route.durations_with(pictures, name)}
    update, resolution = nearest_frame(given, route, frames or route.frames)
    if (asked := given.get("duration_seconds")) is not None:
        _check_longest(asked, route, asked_model=asked_model)
        durations = route.durations_with(pictures, resolution) or route.durations
        update["duration_seconds"] = nearest_duration(asked, durations)
    changes += [
        Change(field=name, asked=given[name], made=made)
        for name, made in update.items()
        if name in given and given[name] != made
    ]
    return Adapted(request=request.model_copy(update=update), changes=tuple(changes))


def _merged(first: Sequence[Change], then: Sequence[Change]) -> list[Change]:
    """One change for each field: from what was asked for at first to what is made at last."""
    asked = {change.field: change.asked for change in first}
    later = [replace(each, asked=asked.get(each.field, each.asked)) for each in then]
    fields = {change.field for change in later}
    return [*(change for change in first if change.field not in fields), *later]


def _fitted(request: VideoRequest, route: Route) -> tuple[VideoRequest, list[Change]]:
    """The request without what the route can't carry, and with types that it can."""
    dropped = _not_carried(request, route)
    update: dict[str, Any] = dict.fromkeys(dropped)
    changes = [Change(field=name, asked=getattr(request, name)) for name in dropped]
    references = request.reference_images
    if "reference_images" in update:
        update["reference_images"] = ()
    elif references:
        typed = tuple(_typed(each, route) for each in references[: route.reference_images])
        types = [(one.type, made.type) for one, made in zip(references, typed, strict=False)]
        asked, made = next((each for each in types if each[0] != each[1]), (None, None))
        if len(typed) < len(references):
            change = Change(field="reference_images", asked=len(references), made=len(typed))
            changes.append(change)
        elif made is not None:
            changes.append(Change(field="reference_images", asked=asked, made=made))
        update["reference_images"] = typed
    fitted = request.model_copy(update=update)
    if not route.offers(fitted.given_pictures) and fitted.reference_images:
        # References can't be combined with the frames, which say more about the video.
        changes = [change for change in changes if change.field != "reference_images"]
        changes.append(Change(field="reference_images", asked=len(references)))
        fitted = fitted.model_copy(update={"reference_images": ()})
    return fitted, changes


def _typed(reference: Reference[Picture], route: Route) -> Reference[Picture]:
    """The reference picture with a type that the route carries."""
    if reference.type in route.reference_types:
        return reference
    types = route.reference_types
    made = DEFAULT_TYPE if DEFAULT_TYPE in types else types[0]
    return reference.model_copy(update={"type": made})


def _not_carried(request: VideoRequest, route: Route) -> list[str]:
    """The parameters that were asked for and that the route can't carry, but for the first frame.

    Without that one, the route is refused.
    """
    asked = [name for name in OPTIONAL if getattr(request, name) not in (None, ())]
    dropped = [name for name in asked if name not in route.takes]
    if request.fps is not None and request.fps not in (route.fps, *route.fps_choices):
        dropped.append("fps")
    if route.data_uri_bytes == 0:  # pictures by URL only
        dropped += [
            name.partition("[")[0]
            for name, picture in request.pictures()
            if not isinstance(picture, str) or picture.startswith("data:")
        ]
    needs_image = route.last_image == "with_image" and "last_image" in asked
    if needs_image and "image" not in asked:
        dropped.append("last_image")
    return [name for name in dict.fromkeys(dropped) if name != "image"]


def _check_longest(asked: float, route: Route, *, asked_model: str) -> None:
    longest = max(route.durations)
    if asked > longest:
        msg = f"duration_seconds exceeds maximum of {longest} for {asked_model} model"
        raise RequestRefused(msg, param="duration_seconds")


def _cost(adapted: Adapted) -> tuple[int, int]:
    return len(adapted.dropped), len(adapted.changes)


def _reason(
    refusals: Sequence[RequestRefused],
    usable: Iterable[Route],
    given: Mapping[str, Any],
    *,
    asked_model: str,
) -> RequestRefused:
    """Why no route can make it: the first one's reason, but of maximums the highest."""
    first = refusals[0]
    if first.param == "prompt":
        with_image = given.get("image") is not None
        limits = [route.prompt_limit_for(with_image=with_image) for route in usable]
        most = [limit.most if limit else 0 for limit in limits]
        return refusals[most.index(max(most))]
    if first.param != "duration_seconds":
        return first
    longest = max(usable, key=lambda route: max(route.durations))
    try:
        _check_longest(given["duration_seconds"], longest, asked_model=asked_model)
    except RequestRefused as refusal:
        return refusal
    return next((each for each in refusals if each.param != "duration_seconds"), first)


def _sorted(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: FIELDS.index(change.field)))


def _shown(value: object) -> str:
    """A value as a header can carry it: one line of printable ASCII."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)[:_SHOWN].encode("ascii", "backslashreplace").decode()
    return "".join(character if character.isprintable() else "?" for character in text)
