"""Double slashes in the paths of dialects: their clients join a base URL that ends with one."""

import re
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES: Final = re.compile("/{2,}")
_RAW_SLASHES: Final = re.compile(b"/{2,}")


class SingleSlashes:
    """ASGI middleware: `//` is `/` in a path that is a dialect's once it is written so.

    It changes the request's own scope, so that errors are rendered by the same path.
    """

    def __init__(self, app: ASGIApp, prefixes: Iterable[str] = ()) -> None:
        self.app = app
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "//" in scope["path"]:
            path = _SLASHES.sub("/", scope["path"])
            if any(path == each or path.startswith(f"{each}/") for each in self._prefixes):
                scope["path"] = path
                if raw := scope.get("raw_path"):
                    scope["raw_path"] = _RAW_SLASHES.sub(b"/", raw)
        await self.app(scope, receive, send)
