"""The session's name server on loopback, and the environment by which child processes use it."""

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Final

import uvloop

from tests._offline.sitecustomize import VARIABLE, keep

_HERE: Final = Path(__file__).parent
_NODE: Final = f'--require "{_HERE / "names.cjs"}"'
_HEADER: Final = struct.Struct("!6H")
#: A response, recursion available, to a name that does not exist (RFC 1035, section 4.1.1).
_NO_SUCH_NAME: Final = 0x8183


class NoNames(threading.Thread):
    """A name server that knows no name, and remembers which it was asked for."""

    def __init__(self) -> None:
        super().__init__(name="name server of the tests", daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._socket.getsockname())
        self.asked: list[str] = []

    def run(self) -> None:
        """Answer for as long as the process lives."""
        while True:
            query, client = self._socket.recvfrom(4096)
            if len(query) > _HEADER.size:
                self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], _HEADER.size
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1").lower())
            at += 1 + query[at]
        self.asked.append(".".join(labels))
        (number,) = struct.unpack("!H", query[:2])
        header = _HEADER.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0)
        return header + query[_HEADER.size : at + 5]


def offline(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process that looks up no name beyond this machine."""
    path, node = environment.get("PYTHONPATH"), environment.get("NODE_OPTIONS")
    if path is not None and str(_HERE) in path.split(os.pathsep):
        return {**environment}
    return {
        **environment,
        VARIABLE: os.environ[VARIABLE],
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_HERE), path))),
        "NODE_OPTIONS": " ".join(filter(None, (_NODE, node))),
    }


def begin() -> NoNames:
    """Keep look-ups of this process, and of all that it starts, on this machine."""
    server = NoNames()
    server.start()
    os.environ[VARIABLE] = server.address
    os.environ.update(offline(os.environ))
    keep()
    _keep_children()
    return server


def _keep_children() -> None:
    """Children that are given an environment of their own get these variables as well."""
    real: Any = subprocess.Popen.__init__
    if hasattr(real, "__wrapped__"):
        return

    @wraps(real)
    def init(
        self: Any, *arguments: Any, env: Mapping[str, str] | None = None, **others: Any
    ) -> None:
        real(self, *arguments, env=None if env is None else offline(env), **others)

    def spawning(spawn: Any) -> Any:
        @wraps(spawn)
        async def spawned(
            self: Any, *arguments: Any, env: Mapping[str, str] | None = None, **others: Any
        ) -> Any:
            environment = None if env is None else offline(env)
            return await spawn(self, *arguments, env=environment, **others)

        return spawned

    # Its loops start processes without Python's own functions.
    for name in ("subprocess_exec", "subprocess_shell"):
        setattr(uvloop.Loop, name, spawning(getattr(uvloop.Loop, name)))
    subprocess.Popen.__init__ = init  # type: ignore[assignment, method-assign] # the same, but for `env`
