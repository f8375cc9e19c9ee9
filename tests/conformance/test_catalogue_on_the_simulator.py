"""The catalogue accepts exactly the durations that the vendors accept, pictures and sizes crossed.

Each route's durations, resolutions and kinds of pictures are crossed and sent by our adapter to the
simulator, whose checks are those of the vendor's SDK or documents.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import pytest

from catalog.models import Catalog, Model
from catalog.plan import Plan
from catalog.resolve import plan_on
from catalog.routes import Route
from models.failure import RequestRefused
from models.request import VideoRequest
from providers.base import Phase, ProviderError
from providers.registry import PROVIDERS
from settings import Settings
from tests.conformance.test_adapters_on_the_simulator import INLINE, LINK, Desk, at_desk
from tests.conformance.watching import Simulator

CATALOG = Catalog.load(Settings())
#: How many are under way together: fewer than the simulator's limit of a model.
AT_ONCE = 40
#: Providers that take a request and check its values when the model runs.
CHECK_LATE = {"fal", "layer"}


@dataclass(frozen=True)
class Crossed:
    """A request, its plan if the catalogue knew no combinations, and whether it is accepted."""

    name: str
    plan: Plan
    is_offered: bool


def crossed(provider: str) -> Iterator[Crossed]:
    for model in CATALOG.models():
        for route in model.routes.values():
            if route.provider == provider:
                yield from of_route(model, route)


def of_route(model: Model, route: Route) -> Iterator[Crossed]:
    resolutions = dict.fromkeys((*route.frames, *(route.image_frames or ())))
    for kind, resolution, seconds in product(pictures(route), resolutions, route.durations):
        body = {"prompt": "a cat", "resolution": resolution, "duration_seconds": seconds, **kind}
        request = VideoRequest.from_json(body)
        try:
            free = route.model_copy(update={"combinations": ()})
            plan = plan_on(request, model=model, route=free)
        except RequestRefused:
            continue  # of pictures or sizes that the route does not take at all
        try:
            is_offered = plan_on(request, model=model, route=route) == plan
        except RequestRefused:
            is_offered = False
        name = f"{model.name}/{route.name} {resolution} {seconds} s with {sorted(kind) or 'text'}"
        yield Crossed(name, plan, is_offered)


def pictures(route: Route) -> Iterator[dict[str, object]]:
    """Text, each frame, both, references of each type, and references with a frame."""
    image = INLINE if PROVIDERS[route.provider].capabilities.inline_pictures else LINK
    references = [{"image": image, "type": each} for each in route.reference_types]
    given: dict[str, object] = {"image": image, "last_image": image, "reference_images": references}
    names = [name for name in given if name in route.takes]
    for chosen in product((True, False), repeat=len(names)):
        yield {name: given[name] for name, is_in in zip(names, chosen, strict=True) if is_in}


def is_accepted(answer: object) -> bool:
    """Raises what is no refusal of the request."""
    if isinstance(answer, ProviderError):
        return False
    if isinstance(answer, BaseException):
        raise answer
    return True


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_catalogue_offers_what_the_vendor_accepts(simulator: Simulator, provider: str) -> None:
    # Given every request of the table that the provider's routes could be sent
    table = list(crossed(provider))
    assert any(each.is_offered for each in table)

    # When each is sent, whether the catalogue offers it or not
    async def send(sent: Sequence[Crossed], desk: Desk) -> list[bool]:
        asks = [each.plan.ask(attempt_id="a", marker=f"m{at}") for at, each in enumerate(sent)]
        answers = await asyncio.gather(*map(desk.submitted, asks), return_exceptions=True)
        accepted = [is_accepted(answer) for answer in answers]
        if provider not in CHECK_LATE:
            return accepted
        updates = await desk.settled([str(answer) for answer in answers])
        return [updates[str(answer)].phase is Phase.SUCCEEDED for answer in answers]

    accepted: list[bool] = []
    for start in range(0, len(table), AT_ONCE):
        simulator.reset()
        some = partial(send, table[start : start + AT_ONCE])
        accepted += at_desk(provider, simulator.env, some)

    # Then the vendor accepts what the catalogue offers, and refuses what it does not
    wrong = [
        f"{each.name}: {'offered' if each.is_offered else 'not offered'}"
        for each, is_right in zip(table, accepted, strict=True)
        if each.is_offered != is_right
    ]
    assert wrong == []
