"""What to ask so that one provider makes it: every provider there is, through the front door."""

from functools import cache

from catalog.models import Catalog, Model
from catalog.routes import Route
from cli.demo.shots import picture
from settings import Settings
from tests.faults.harness.client import Json

#: A picture for providers that fetch one themselves; simulated ones never do.
_ADDRESS = "https://pictures.example/still.png"


def asked_of(provider: str) -> Json:
    """The fields of a request that only `provider` can carry out."""
    model, route = _chosen(provider)
    fields: Json = {"model": f"{provider}/{model.name}"}
    if _needs_picture(route):
        fields["image"] = _ADDRESS if route.data_uri_bytes == 0 else picture(640, 360)
    return fields


@cache
def _chosen(provider: str) -> tuple[Model, Route]:
    """Its first model, from text alone where it makes such a one."""
    made = [
        (model, route)
        for model in Catalog.load(Settings()).models()
        for route in model.routes.values()
        if route.provider == provider
    ]
    return min(made, key=lambda each: _needs_picture(each[1]))


def _needs_picture(route: Route) -> bool:
    return route.image == "required"
