"""What every process of a stack is told, and every command that finds it: one set of variables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.registry import PROVIDERS, vendor_variables
from settings import Settings
from stack.folder import Folder
from stack.keys import secret_keys
from stack.ports import Ports
from transport.base import Request
from transport.exact import ExactClient

#: What --simulate lets the outbound guard through to: this machine.
LOOPBACK = ("127.0.0.0/8", "::1/128")
#: How often --simulate polls an operation at most, in seconds: simulated ones last a few seconds.
POLL_FLOOR = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Settings by field name, as text, and vendors' own variables."""

    own: Mapping[str, str]
    vendor: Mapping[str, str] = field(repr=False)

    def variables(self) -> dict[str, str]:
        """For a child's environment."""
        ours = {f"LONGTAKE_{name.upper()}": value for name, value in self.own.items()}
        return ours | dict(self.vendor)

    def for_file(self) -> dict[str, Any]:
        """For `settings.load` of other processes."""
        return {**self.own, "vendor": dict(self.vendor)}


def told(
    settings: Settings, folder: Folder, *, ports: Ports, database_url: str, broker_url: str
) -> Told:
    """What holds for every process, simulated or not."""
    keys = ",".join(key.get_secret_value() for key in settings.secret_keys)
    own = {
        "data_dir": str(folder.path),
        "database_url": database_url,
        "broker_url": broker_url,
        "secret_keys": keys or secret_keys(folder),
        "api_port": str(ports.api),
        "flower_port": str(ports.flower),
        "sim_port": str(ports.simulator),
    }
    if settings.public_url:
        own["public_url"] = settings.public_url
    given = vendor_variables(settings)
    vendor = {name: value.get_secret_value() for name, value in given.items()}
    return Told(own=own, vendor=vendor)


def simulated(before: Told, settings: Settings, answer: Mapping[str, str]) -> Told:
    """With every provider that has no credentials pointed at the simulator, by its own answer."""
    networks = [str(network) for network in settings.allow_private_hosts]
    own = {
        **before.own,
        "allow_private_hosts": ",".join(dict.fromkeys((*networks, *LOOPBACK))),
        "poll_floor_seconds": str(settings.poll_floor_seconds or POLL_FLOOR),
    }
    vendor = dict(before.vendor)
    real = {
        provider.base_variable
        for provider in PROVIDERS.values()
        if any(all(name in before.vendor for name in names) for names in provider.credentials)
    }
    for provider in PROVIDERS.values():
        if (
            provider.base_variable in real
        ):  # two providers may share an address: keep real keys off it
            continue
        alternatives = provider.credentials
        wanted = {provider.base_variable, *(name for names in alternatives for name in names)}
        vendor |= {name: value for name, value in answer.items() if name in wanted}
    return Told(own=own, vendor=vendor)


async def simulator_variables(url: str) -> dict[str, str]:
    """What the simulator says that points a client at it; raises TransportError."""
    client = ExactClient()
    try:
        answer = (await client.send(Request(method="GET", url=f"{url}/_sim/env"))).json()
    finally:
        await client.close()
    return {str(name): str(value) for name, value in answer.items()}


def inherited(environment: Mapping[str, str], known: Told, *, simulate: bool) -> dict[str, str]:
    """What a process of ours inherits."""
    whole = {**environment, **known.variables()}
    if simulate:
        # Its JSON API answers whoever may reach loopback; the page then is read-only (see roles).
        whole.setdefault("FLOWER_UNAUTHENTICATED_API", "true")
    return whole
