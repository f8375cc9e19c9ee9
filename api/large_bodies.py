"""Large request bodies: only so many are here at a time, and fewer are worked on.

What is left of one in the end is small, but until then it is held several times over: as it came,
as text, and sealed. So a place is taken before more than LARGE bytes are received.
"""

from contextlib import AsyncExitStack
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from api.places import Places

#: Bytes above which a body is large.
LARGE: Final = 256 * 2**10
#: Large bodies that one process holds, and of them those of one tenant.
MOST_HERE: Final = 8
MOST_HERE_OF_TENANT: Final = 2
#: Those that have arrived and are worked on: each takes a thread, and several times its size.
MOST_AT_WORK: Final = 2
MOST_AT_WORK_OF_TENANT: Final = 1
_PLACES: Final = "places"


class LargeBodies:
    """The large bodies of one process."""

    def __init__(self) -> None:
        self._here = Places(MOST_HERE, of_tenant=MOST_HERE_OF_TENANT)
        self._at_work = Places(MOST_AT_WORK, of_tenant=MOST_AT_WORK_OF_TENANT)

    async def enter(self, request: Request, *, tenant: str) -> None:
        """Take a place to receive the request's body; raises RequestRefused as `Places.taken`."""
        places = request.scope.setdefault("state", {}).setdefault(_PLACES, AsyncExitStack())
        await places.enter_async_context(self._here.taken(tenant=tenant))

    async def begin_work(self, request: Request, *, tenant: str) -> None:
        """Take a place to work on the body, which has arrived; raises as `enter`."""
        places: AsyncExitStack = request.scope["state"][_PLACES]
        await places.enter_async_context(self._at_work.taken(tenant=tenant))


def is_large(request: Request) -> bool:
    """Whether the request has a large body, which is read."""
    return _PLACES in request.scope.get("state", {})


async def leave(scope: Scope) -> None:
    """Give back the request's places, if it has any: its body is not needed any more."""
    places: AsyncExitStack | None = scope.get("state", {}).get(_PLACES)
    if places is not None:
        await places.aclose()
