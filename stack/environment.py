"""The variables that every process of a stack gets, and every command that finds the stack."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.registry import PROVIDERS, vendor_variables, with_credentials
from settings import Settings
from stack.folder import Folder
from stack.keys import secret_keys
from stack.ports import Ports
from transport.base import Request
from transport.exact import ExactClient

#: Networks that --simulate opens in the outbound guard: this machine.
LOOPBACK = ("127.0.0.0/8", "::1/128")
#: Shortest poll interval with --simulate, in seconds: simulated operations take a few seconds.
POLL_FLOOR = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class StackVariables:
    """Our settings as text, by field name, and the vendors' own variables."""

    own: Mapping[str, str]
    vendor: Mapping[str, str] = field(repr=False)

    def variables(self) -> dict[str, str]:
        """Variables for a child's environment."""
        ours = {f"LONGTAKE_{name.upper()}": value for name, value in self.own.items()}
        return ours | dict(self.vendor)

    def as_settings(self) -> dict[str, Any]:
        """Content of the stack file, which `settings.load` reads in other processes."""
        return {**self.own, "vendor": dict(self.vendor)}


def stack_variables(
    settings: Settings, folder: Folder, *, ports: Ports, database_url: str, broker_url: str
) -> StackVariables:
    """The variables that every process gets, simulated or not."""
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
    return StackVariables(own=own, vendor=vendor)


def simulated(
    before: StackVariables, settings: Settings, answer: Mapping[str, str]
) -> StackVariables:
    """Point every provider without credentials at the simulator, with the variables it reports."""
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
        if provider.name in with_credentials(before.vendor)
    }
    for provider in PROVIDERS.values():
        if provider.base_variable in real:
            continue  # providers may share an address: real keys must not go to the simulator
        alternatives = provider.credentials
        wanted = {provider.base_variable, *(name for names in alternatives for name in names)}
        vendor |= {name: value for name, value in answer.items() if name in wanted}
    return StackVariables(own=own, vendor=vendor)


async def simulator_variables(url: str) -> dict[str, str]:
    """The variables that point a client at the simulator. Raises TransportError."""
    client = ExactClient()
    try:
        answer = (await client.send(Request(method="GET", url=f"{url}/_sim/env"))).json()
    finally:
        await client.close()
    return {str(name): str(value) for name, value in answer.items()}


def child_environment(
    environment: Mapping[str, str], known: StackVariables, *, simulate: bool
) -> dict[str, str]:
    """The environment of a child process."""
    whole = {**environment, **known.variables()}
    if simulate:
        # Opens Flower's JSON API to local programs; it tells what the pages tell (`worker.flower`).
        whole.setdefault("FLOWER_UNAUTHENTICATED_API", "true")
    return whole
