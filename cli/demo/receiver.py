"""The demo's webhook receiver, as a backend app would run it, on loopback."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from webhooks.signing import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One received webhook request."""

    #: The `webhook-id`, the same for every try of an event.
    id: str
    is_signed: bool
    type: str
    job_id: str
    status: str


class Receiver:
    """Records every request; one with an invalid signature is answered with 401."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._received = asyncio.Event()
        self.url = ""
        self.receipts: list[Receipt] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        is_signed = verify(self._secret, headers=request.headers, body=body, now=time.time())
        message = json.loads(body)
        self.receipts.append(
            Receipt(
                id=request.headers.get("webhook-id", ""),
                is_signed=is_signed,
                type=message["type"],
                job_id=message["data"]["id"],
                status=message["data"]["status"],
            )
        )
        self._received.set()
        return web.Response(status=204 if is_signed else 401)

    async def heard_of(self, job_ids: Iterable[str], *, bound: float) -> None:
        """Wait until every job has a webhook, or for `bound` seconds."""
        wanted = set(job_ids)
        try:
            async with asyncio.timeout(bound):
                while not wanted <= {receipt.job_id for receipt in self.receipts}:
                    self._received.clear()
                    await self._received.wait()
        except TimeoutError:
            return  # the verdict reports missing ones


@asynccontextmanager
async def receiving(secret: str) -> AsyncIterator[Receiver]:
    """A receiver on a free port, for the duration of the block."""
    receiver = Receiver(secret)
    app = web.Application()
    app.router.add_post("/hooks", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
        yield receiver
    finally:
        await runner.cleanup()
