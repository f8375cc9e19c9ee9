"""Asking by the getter, bounded."""

import asyncio

from transport.base import Request, Response
from transport.getter import Getter


def get(url: str, *, connect_timeout: float = 8, timeout: float = 8) -> Request:
    return Request(method="GET", url=url, connect_timeout=connect_timeout, timeout=timeout)


async def send(client: Getter, request: Request) -> Response:
    """As `client.send`, but no test waits forever."""
    async with asyncio.timeout(10):
        return await client.send(request)
