"""Waiting for what the rows or the objects show, never for a time to pass."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within: float = 60.0) -> None:
    """Look again and again until it is so; TimeoutError when it is not so `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.005)
