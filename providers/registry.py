"""All providers, and the accounts configured for them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from operator import itemgetter
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
from settings import Settings, SettingsError, read_files

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


#: Variables of base URLs: without a suffix they are the default of every account.
_BASES: Final = frozenset(provider.base_variable for provider in PROVIDERS.values())
#: Between a variable and the name of an account: `RUNWAYML_API_SECRET__TEAM` is of `runway:team`.
SUFFIX: Final = "__"
#: The name of the account without a suffix, where accounts are named without their provider.
PLAIN: Final = "plain"
#: Accounts' names: they are lanes, and parts of keys and labels.
NAME: Final = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
LONGEST_NAME: Final = 32


def is_vendor_variable(name: str) -> bool:
    """Whether it is a vendor's variable, of an account with a name or of the one without."""
    return name.partition(SUFFIX)[0] in VARIABLES


def names_credentials(name: str) -> bool:
    """Whether it is a vendor's variable, or the one that names a file with its value."""
    return is_vendor_variable(name.removesuffix("_FILE"))


def vendor_variables(settings: Settings) -> Mapping[str, SecretStr]:
    """The vendors' variables that are set: the environment's, or else the running stack's.

    Raises:
        SettingsError: the file of a variable `NAME_FILE` has no value for it; see `read_files`.
    """
    named = frozenset(
        (name, value)
        for name, value in settings.other_variables.items()
        if is_vendor_variable(name.removesuffix("_FILE"))
    )
    return _with_files(named) or settings.vendor


@cache
def _with_files(named: frozenset[tuple[str, SecretStr]]) -> Mapping[str, SecretStr]:
    """Vendors' variables, with what their files hold: a process reads each file once."""
    plain = {name: value.get_secret_value() for name, value in sorted(named, key=itemgetter(0))}
    read = read_files(plain, also=is_vendor_variable)
    return {name: SecretStr(read[name]) for name in read if is_vendor_variable(name)}


def accounts(settings: Settings) -> Mapping[str, Account]:
    """The accounts with credentials, by name: `runway`, and `runway:team` of variables `…__TEAM`.

    Raises:
        SettingsError: a base URL or a suffix is invalid; the message names its variable.
    """
    by_suffix = _by_suffix(vendor_variables(settings))
    bases = {name: one for name, one in by_suffix[""].items() if name in _BASES}
    found = (
        _account(provider, {**bases, **variables}, suffix)
        for suffix, variables in by_suffix.items()
        for provider in PROVIDERS.values()
    )
    return {account.name: account for account in found if account is not None}


def provider_of(account: str) -> str:
    """The provider's name in an account's, also of accounts that this process has not."""
    return account.partition(":")[0]


def account_named(provider: str, name: str) -> str:
    """The full name of a provider's account."""
    return provider if name == PLAIN else f"{provider}:{name}"


def variable_of(settings: Settings, variable: str, *, account: str) -> str | None:
    """The value of a vendor's variable for an account: its own, else the one without a suffix."""
    vendor = vendor_variables(settings)
    known = _by_suffix(vendor)
    own = known.get(account.partition(":")[2], {}).get(variable) or known[""].get(variable)
    return own[1] if own else None


def with_credentials(names: frozenset[str] | Mapping[str, object]) -> frozenset[str]:
    """The providers that have credentials of any account among these variables."""
    suffixes = {name.partition(SUFFIX)[1] + name.partition(SUFFIX)[2] for name in names}
    return frozenset(
        provider.name
        for provider in PROVIDERS.values()
        for wanted in provider.credentials
        for suffix in suffixes
        if all(f"{name}{suffix}" in names for name in wanted)
    )


def capabilities_of(provider: str) -> Capabilities:
    """What a provider can do; of one that only another version of ours knows, the least."""
    known = PROVIDERS.get(provider)
    return known.capabilities if known else Capabilities()


def missing_variables(provider: str) -> str:
    """The variables to set for a provider, such as "A" or "A, or B and C"."""
    wanted = PROVIDERS[provider]
    base = (wanted.base_variable,) if wanted.retired else ()
    return ", or ".join(" and ".join((*names, *base)) for names in wanted.credentials)


def _by_suffix(vendor: Mapping[str, SecretStr]) -> Mapping[str, Mapping[str, tuple[str, str]]]:
    """For each suffix in lower case, "" among them: plain variable to its own name and value."""
    found: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for variable, value in vendor.items():
        plain, mark, suffix = variable.partition(SUFFIX)
        name = suffix.lower()
        if mark and (not NAME.fullmatch(name) or len(name) > LONGEST_NAME or name == PLAIN):
            msg = (
                f"{variable[:128]}: the account's name after {plain}{SUFFIX} must be 1 to "
                f"{LONGEST_NAME} letters and digits, with single _ or - between them, and not "
                f"{PLAIN.upper()} (it is {suffix[:64]!r})"
            )
            raise SettingsError(msg)
        other, _ = found.setdefault(name, {}).setdefault(
            plain, (variable, value.get_secret_value())
        )
        if other != variable:
            msg = f"{variable}: names the same account as {other}; upper and lower case are alike"
            raise SettingsError(msg)
    return found


def _account(
    provider: Provider, variables: Mapping[str, tuple[str, str]], suffix: str
) -> Account | None:
    """A provider's account of the variables with one suffix; None if any is missing."""
    base_url = _base_url(provider, variables)
    if provider.retired and (base_url is None or _is_vendors_own(provider, base_url)):
        return None
    for names in provider.credentials:
        if all(name in variables for name in names):
            given = {name: variables[name][1] for name in names}
            try:
                account = provider.account(given, base_url=base_url)
            except SettingsError as error:
                if not suffix:
                    raise
                msg = f"account {account_named(provider.name, suffix)}: {error}"
                raise SettingsError(msg) from None
            return replace(account, name=account_named(provider.name, suffix or PLAIN))
    return None


def _is_vendors_own(provider: Provider, base_url: str) -> bool:
    return _host(base_url) == _host(provider.default_base)


def _host(url: str) -> str:
    """In lower case, and without the dot that may end a full name."""
    return (urlsplit(url).hostname or "").removesuffix(".")


def _base_url(provider: Provider, variables: Mapping[str, tuple[str, str]]) -> str | None:
    """The operator's base URL; None for the vendor's default."""
    given = variables.get(provider.base_variable)
    if given is None:
        return None
    variable, url = given
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        msg = f"{variable}: must be an http:// or https:// URL without a query"
        raise SettingsError(msg)
    return url.rstrip("/")
