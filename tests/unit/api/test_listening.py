"""Where the API listens, and how it pauses where no place is left."""

import asyncio
import errno
import socket
from typing import Any

import pytest

from api.listening import Listener, bound

pytestmark = pytest.mark.anyio
TWO = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
]


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
async def test_an_address_that_the_machine_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    create, lacking = socket.create_server, {socket.AF_INET6}

    def make(address: Any, *, family: socket.AddressFamily, **options: Any) -> socket.socket:
        if family in lacking:
            raise OSError(number, "no such address")
        return create(address, family=family, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: TWO)
    monkeypatch.setattr(socket, "create_server", make)

    (only,) = bound("localhost", 0)
    assert only.family is socket.AF_INET
    only.close()
    lacking.add(socket.AF_INET)
    with pytest.raises(OSError, match="no such address"):
        bound("localhost", 0)


class _Full:
    """Connections none of which gives up its place."""

    def has_place(self, **_: bool) -> bool:
        return False


async def test_a_pause_is_one_and_ends_with_the_listener() -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    listener = Listener(sockets, _Full(), lambda: pytest.fail("nobody comes"))  # type: ignore[arg-type]
    listener.start()
    for each in sockets:
        listener._accept(each)  # noqa: SLF001 - as the loop calls it
    listener.close()
    listener._accept(sockets[0])  # noqa: SLF001 - one that was about to be called

    told = list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    await asyncio.sleep(0.25)
    assert not told
