"""Every provider there is, and the accounts that the environment gives us at them."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from providers.aimlapi import Aimlapi
from providers.aimlapi_legacy import AimlapiLegacy
from providers.base import Account, Provider
from providers.fal import Fal
from providers.gemini import Gemini
from providers.gemini_veo import GeminiVeo
from providers.kling import Kling
from providers.kling_legacy import KlingLegacy
from providers.layer import Layer
from providers.luma_agents import LumaAgents
from providers.luma_dream_machine import LumaDreamMachine
from providers.lunos import Lunos
from providers.minimax import Minimax
from providers.minimax_v2 import MinimaxV2
from providers.openai_videos import OpenaiVideos
from providers.perf import Perf
from providers.replicate import Replicate
from providers.runway import Runway
from providers.veo import Veo
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


def accounts(settings: Settings) -> Mapping[str, Account]:
    """The accounts that have credentials, by name; a provider's only account has its name.

    Raises:
        SettingsError: a base address is not one; the message names its variable.
    """
    found = (_account(provider, settings) for provider in PROVIDERS.values())
    return {account.name: account for account in found if account is not None}


def missing_variables(provider: str) -> str:
    """What to set for a provider, in words: "A", or "A, or B and C"."""
    wanted = PROVIDERS[provider]
    base = (wanted.base_variable,) if wanted.needs_base else ()
    return ", or ".join(" and ".join((*names, *base)) for names in wanted.credentials)


def _account(provider: Provider, settings: Settings) -> Account | None:
    vendor = settings.vendor
    if provider.needs_base and provider.base_variable not in vendor:
        return None
    for names in provider.credentials:
        if all(name in vendor for name in names):
            given = {name: vendor[name].get_secret_value() for name in names}
            return provider.account(given, base_url=_base_url(provider, settings))
    return None


def _base_url(provider: Provider, settings: Settings) -> str | None:
    """The address that the operator gave; None where the vendor's own is meant."""
    given = settings.vendor.get(provider.base_variable)
    if given is None:
        return None
    url = given.get_secret_value()
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        msg = f"{provider.base_variable}: must be an http:// or https:// address without a query"
        raise SettingsError(msg)
    return url.rstrip("/")
