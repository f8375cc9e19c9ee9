"""Requests and programs as a vendor's documents print them, sent to another origin."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

CAPTURED = Path(__file__).with_name("captured")


def printed(name: str, *, host: str, instead: str) -> str:
    """A program as a vendor's document prints it, for another host."""
    return (CAPTURED / name).read_text("utf-8").replace(host, instead)


@dataclass(frozen=True)
class Replayer:
    """Sends requests as they are written, to another origin."""

    origin: str

    def send(self, request: dict[str, Any]) -> httpx.Response:
        body = request["body"]
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(
                request["method"],
                self.origin + request["path"],
                headers=request["headers"],
                content=None if body is None else json.dumps(body),
            )

    def curl(self, command: str) -> httpx.Response:
        """A curl command with nothing but -X, -H and -d."""
        words = shlex.split(command.replace("\\\n", " "))
        assert words[0] == "curl"
        options: dict[str, list[str]] = {"-X": [], "-H": [], "-d": []}
        addresses: list[str] = []
        rest = iter(words[1:])
        for word in rest:
            if word in options:
                options[word].append(next(rest))
            else:
                addresses.append(word)
        (method,), (address,) = options["-X"], addresses
        request = {
            "method": method,
            "path": urlsplit(address).path,
            "headers": dict(header.split(": ", 1) for header in options["-H"]),
            "body": json.loads(options["-d"][0]) if options["-d"] else None,
        }
        return self.send(request)


@contextmanager
def replaying(origin: str) -> Iterator[Replayer]:
    yield Replayer(origin)
