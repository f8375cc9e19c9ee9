"""HEAD on every route that answers GET: the same status and headers, and no body."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.ending import end


class Heads:
    """ASGI middleware: asks the routes for GET, and sends the start of their response alone.

    What would go on from there, a video or a stream of events, is ended.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        # Ranges are defined for GET alone (RFC 9110, section 14.2).
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        asked = {**scope, "method": "GET", "headers": headers}
        begins = asyncio.Event()

        async def headless(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                begins.set()

        answers = asyncio.create_task(_run(self.app, asked, receive, headless))
        begun = asyncio.create_task(begins.wait())
        try:
            await asyncio.wait({answers, begun}, return_when=asyncio.FIRST_COMPLETED)
            if not begins.is_set():
                answers.result()  # raises what kept it from beginning
        finally:
            scope["route"] = asked.get("route")  # the log names it
            await end(answers, begun)
            if not answers.cancelled():
                answers.exception()  # after its start nobody is told of it


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
