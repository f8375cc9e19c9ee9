"""Keeps look-ups of names on this machine, in whichever Python process imports it.

Python does so at its start where this folder is on PYTHONPATH. Addresses are read, `localhost` is
127.0.0.1, and no other name has an address; c-ares asks the name server in TESTS_NAME_SERVER.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys

TYPE_CHECKING = False  # what `typing` would say: every child process imports this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any

#: The variable with the address of the tests' name server, as in 127.0.0.1:5353.
VARIABLE = "TESTS_NAME_SERVER"
#: Nobody listens there: for a process that was not told of a name server.
_NOBODY = "127.0.0.1:9"
_MARK = "keeps_names_here"


def keep_socket(socket: Any) -> None:
    """Replace what asks the system's resolver, which Python's own libraries find by name."""
    real, real_nameinfo = socket.getaddrinfo, socket.getnameinfo
    if hasattr(real, _MARK):
        return

    def getaddrinfo(  # noqa: PLR0917 - the real one's parameters
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the real name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        if host in {"localhost", b"localhost"}:
            host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return real(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)

    def gethostbyname(host: str) -> Any:
        return getaddrinfo(host, None, socket.AF_INET)[0][4][0]

    def gethostbyname_ex(host: str) -> tuple[str, list[str], list[Any]]:
        return host, [], [gethostbyname(host)]

    def gethostbyaddr(host: str) -> Any:
        raise socket.herror(1, f"tests look up no names: {host}")

    def getnameinfo(address: Any, flags: int) -> Any:
        return real_nameinfo(address, flags | socket.NI_NUMERICHOST)

    setattr(getaddrinfo, _MARK, True)
    for each in (getaddrinfo, gethostbyname, gethostbyname_ex, gethostbyaddr, getnameinfo):
        setattr(socket, each.__name__, each)


def keep_uvloop(uvloop: Any) -> None:
    """Have its loops read addresses only: they ask the system without Python's functions."""
    import socket  # noqa: PLC0415 - not before somebody needs it

    base = uvloop.Loop.__mro__[1]
    if hasattr(uvloop.Loop.getaddrinfo, _MARK):
        return

    async def getaddrinfo(self: Any, host: Any, port: Any, **given: Any) -> Any:
        if host in {"localhost", b"localhost"}:
            host = "::1" if given.get("family") == socket.AF_INET6 else "127.0.0.1"
        flags = given.pop("flags", 0) | socket.AI_NUMERICHOST
        return await base.getaddrinfo(self, host, port, flags=flags, **given)

    async def create_connection(
        self: Any, factory: Any, host: Any = None, port: Any = None, **given: Any
    ) -> Any:
        if host is not None:
            if given.get("ssl"):
                given.setdefault("server_hostname", host)
            host = (await getaddrinfo(self, host, port, type=socket.SOCK_STREAM))[0][4][0]
        return await base.create_connection(self, factory, host, port, **given)

    setattr(getaddrinfo, _MARK, True)
    uvloop.Loop.getaddrinfo = getaddrinfo
    uvloop.Loop.create_connection = create_connection


def keep_aiodns(aiodns: Any) -> None:
    """Give c-ares the tests' name server, and refuse one that is elsewhere."""
    real = aiodns.DNSResolver.__init__
    if hasattr(real, _MARK):
        return

    def init(self: Any, nameservers: Any = None, *rest: Any, **others: Any) -> None:
        servers = list(nameservers or (os.environ.get(VARIABLE, _NOBODY),))
        if elsewhere := [each for each in servers if not each.startswith(("127.", "::1", "[::1]"))]:
            raise AssertionError(f"a test asks a name server that is elsewhere: {elsewhere}")
        real(self, servers, *rest, **others)

    setattr(init, _MARK, True)
    aiodns.DNSResolver.__init__ = init


_KEPT: Mapping[str, Callable[[Any], None]] = {
    "socket": keep_socket,
    "aiodns": keep_aiodns,
    "uvloop": keep_uvloop,
}


class _Keeper:
    """Finds the modules as they are, and changes each once it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module's place; of one that is to be changed, with what changes it."""
        if name not in _KEPT:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _KEPT[name](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def keep() -> None:
    """Change the modules that are there, and the others when they are imported."""
    if not any(type(each).__name__ == _Keeper.__name__ for each in sys.meta_path):
        sys.meta_path.insert(0, _Keeper())
    for name, change in _KEPT.items():
        if name in sys.modules:
            change(sys.modules[name])


keep()
