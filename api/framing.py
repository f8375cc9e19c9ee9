"""Requests whose length is told twice, which proxies and servers read in different ways."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import error_answer
from models.failure import RequestRefused

_OLD: Final = "1.0"


class OneLength:
    """ASGI middleware: refuses Content-Length beside Transfer-Encoding, and closes the connection.

    What follows such a request may have been smuggled past a proxy, which took the other header
    (RFC 9112, section 6.1). HTTP/1.0 has no Transfer-Encoding at all.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (param := _ambiguous(scope)):
            await self.app(scope, receive, send)
            return
        beside = "HTTP/1.0" if scope["http_version"] == _OLD else "Content-Length"
        refusal = RequestRefused(
            f"{param} must not be sent with {beside}: one of them tells where the body ends",
            code="ambiguous_length",
            param=param,
        )
        answer = error_answer(refusal, scope, headers={"Connection": "close"})
        await answer(scope, receive, send)


def _ambiguous(scope: Scope) -> str | None:
    names = {name for name, _ in scope["headers"]}
    if b"transfer-encoding" not in names:
        return None
    is_old = scope.get("http_version") == _OLD
    return "Transfer-Encoding" if is_old or b"content-length" in names else None
