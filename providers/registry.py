"""All providers, and the accounts configured for them."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from providers.base import Account, Capabilities, Provider
from providers.vendors.fal.fal import Fal
from providers.vendors.gateways.aimlapi import Aimlapi
from providers.vendors.gateways.aimlapi_legacy import AimlapiLegacy
from providers.vendors.gateways.layer import Layer
from providers.vendors.gateways.lunos import Lunos
from providers.vendors.gateways.openai_videos import OpenaiVideos
from providers.vendors.gateways.perf import Perf
from providers.vendors.google.gemini import Gemini
from providers.vendors.google.gemini_veo import GeminiVeo
from providers.vendors.google.veo import Veo
from providers.vendors.kling.kling import Kling
from providers.vendors.kling.kling_legacy import KlingLegacy
from providers.vendors.luma_agents import LumaAgents
from providers.vendors.luma_dream_machine import LumaDreamMachine
from providers.vendors.minimax.minimax import Minimax
from providers.vendors.minimax.minimax_v2 import MinimaxV2
from providers.vendors.replicate import Replicate
from providers.vendors.runway import Runway
from settings import Settings, SettingsError

PROVIDERS: Final[Mapping[str, Provider]] = {
    provider.name: provider
    for provider in (
        Runway(),
        LumaAgents(),
        LumaDreamMachine(),
        Kling(),
        KlingLegacy(),
        Fal(),
        Replicate(),
        Veo(),
        GeminiVeo(),
        Gemini(),
        Minimax(),
        MinimaxV2(),
        OpenaiVideos(),
        Aimlapi(),
        AimlapiLegacy(),
        Lunos(),
        Perf(),
        Layer(),
    )
}

#: Every vendor's variables, by the vendors' own names.
VARIABLES: Final = frozenset(
    name for provider in PROVIDERS.values() for name in provider.variables()
)


def vendor_variables(settings: Settings) -> Mapping[str, SecretStr]:
    """The vendors' variables that are set: the environment's, or else the running stack's."""
    given = settings.other_variables
    return {name: given[name] for name in VARIABLES if name in given} or settings.vendor


def accounts(settings: Settings) -> Mapping[str, Account]:
    """The accounts with credentials, by name; a provider's only account has its name.

    Raises:
        SettingsError: a base URL is invalid; the message names its variable.
    """
    vendor = vendor_variables(settings)
    found = (_account(provider, vendor) for provider in PROVIDERS.values())
    return {account.name: account for account in found if account is not None}


def capabilities_of(provider: str) -> Capabilities:
    """What a provider can do; of one that only another version of ours knows, the least."""
    known = PROVIDERS.get(provider)
    return known.capabilities if known else Capabilities()


def missing_variables(provider: str) -> str:
    """The variables to set for a provider, such as "A" or "A, or B and C"."""
    wanted = PROVIDERS[provider]
    base = (wanted.base_variable,) if wanted.needs_base else ()
    return ", or ".join(" and ".join((*names, *base)) for names in wanted.credentials)


def _account(provider: Provider, vendor: Mapping[str, SecretStr]) -> Account | None:
    if provider.needs_base and provider.base_variable not in vendor:
        return None
    for names in provider.credentials:
        if all(name in vendor for name in names):
            given = {name: vendor[name].get_secret_value() for name in names}
            return provider.account(given, base_url=_base_url(provider, vendor))
    return None


def _base_url(provider: Provider, vendor: Mapping[str, SecretStr]) -> str | None:
    """The operator's base URL; None for the vendor's default."""
    given = vendor.get(provider.base_variable)
    if given is None:
        return None
    url = given.get_secret_value()
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        msg = f"{provider.base_variable}: must be an http:// or https:// URL without a query"
        raise SettingsError(msg)
    return url.rstrip("/")
