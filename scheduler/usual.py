"""The catalogue's times, by which operations are looked at before their route is learned."""

from catalog.models import Catalog
from scheduler.hazard import Usual


def usual_times(catalog: Catalog) -> dict[str, Usual]:
    """The typical times of every provider's models, by `provider/upstream`."""
    return {
        f"{route.provider}/{route.upstream}": Usual(
            route.typical.p10, route.typical.p50, route.typical.p90
        )
        for model in catalog.models()
        for route in model.routes.values()
    }
