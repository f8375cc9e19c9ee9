"""Every provider there is, and the accounts that the environment gives us at them."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from providers.base import Account, Provider
from providers.luma_agents import LumaAgents
from providers.runway import Runway
from settings import Settings, SettingsError

PROVIDERS: Final[Mapping[str, Provider]] = {
    provider.name: provider for provider in (Runway(), LumaAgents())
}


def accounts(settings: Settings) -> Mapping[str, Account]:
    """The accounts that have credentials, by name; a provider's only account has its name.

    Raises:
        SettingsError: a base address is not one; the message names its variable.
    """
    found = (_account(provider, settings) for provider in PROVIDERS.values())
    return {account.name: account for account in found if account is not None}


def missing_variables(provider: str) -> str:
    """What to set for a provider, in words: "A", or "A, or B and C"."""
    return ", or ".join(" and ".join(names) for names in PROVIDERS[provider].credentials)


def _account(provider: Provider, settings: Settings) -> Account | None:
    vendor = settings.vendor
    for names in provider.credentials:
        if all(name in vendor for name in names):
            return Account(
                name=provider.name,
                provider=provider.name,
                base_url=_base_url(provider, settings),
                credentials={name: vendor[name].get_secret_value() for name in names},
            )
    return None


def _base_url(provider: Provider, settings: Settings) -> str:
    given = settings.vendor.get(provider.base_variable)
    url = given.get_secret_value() if given else provider.default_base
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        msg = f"{provider.base_variable}: must be an http:// or https:// address without a query"
        raise SettingsError(msg)
    return url.rstrip("/")
