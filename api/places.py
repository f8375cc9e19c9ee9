"""Places: how many of something one process has at a time, of which one tenant gets a part."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from api.errors import unavailable

#: How long a request waits for a place, in seconds.
WAITS: float = 10.0
#: The code of the refusal.
CODE: Final = "too_many_uploads"


class Places:
    """Places for large bodies; a tenant waits for its own first, then with the others in line."""

    def __init__(self, most: int, *, of_tenant: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._of_tenant = of_tenant
        #: By tenant, while it has a place or waits for one.
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, *, tenant: str) -> AsyncIterator[None]:
        """A place until the end of the block.

        Raises:
            RequestRefused: none came free within WAITS; says when to come again.
        """
        own = self._own.setdefault(tenant, asyncio.Semaphore(self._of_tenant))
        async with AsyncExitStack() as places:
            try:
                async with asyncio.timeout(WAITS):
                    for place in (own, self._free):
                        await places.enter_async_context(place)
            except TimeoutError:
                msg = "too many large bodies are being received; try again"
                raise unavailable(msg, code=CODE) from None
            yield
