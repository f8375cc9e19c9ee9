"""Which gateways stand in for a model that has no credentials of its own; pure functions."""

from collections.abc import Iterator, Mapping

from catalog.models import Catalog
from catalog.resolve import usable_routes
from models.failure import RequestRefused
from providers.base import Account


def gateways_for(
    name: str, refusal: RequestRefused, catalog: Catalog, accounts: Mapping[str, Account]
) -> Iterator[str]:
    """The model at each gateway that sells it and has credentials, as "perf/runway-gen3".

    There is none unless the model was refused as `model_unavailable`.
    """
    if refusal.type != "model_unavailable":
        return
    for provider in dict.fromkeys(account.provider for account in accounts.values()):
        at_gateway = f"{provider}/{name}"
        try:
            usable_routes(catalog.find(at_gateway), catalog, accounts, asked=at_gateway)
        except RequestRefused:
            continue
        yield at_gateway
