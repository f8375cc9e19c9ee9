"""The server: every upstream and the control routes on one port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from simulator.control import Control
from simulator.upstream import Handler, Refusal, Upstream
from simulator.upstreams import UPSTREAMS
from simulator.wire import guarded
from simulator.world import World

#: Maximum size of a request body, in bytes: an inline 25 MB image in base64, and its prompt.
LARGEST_BODY = 40 * 1024 * 1024

#: Seconds for requests in progress (a hang, a download) when the server stops.
GRACE = 0.5


def build_app(world: World) -> web.Application:
    """The application that serves `world`."""
    app = web.Application(client_max_size=LARGEST_BODY)
    app.cleanup_ctx.append(world.callbacks.running)
    upstreams = [upstream(world) for upstream in UPSTREAMS]
    app.add_routes(Control(world, upstreams).routes())
    for upstream in upstreams:
        _mount(app, upstream)
    return app


def _mount(app: web.Application, upstream: Upstream) -> None:
    for endpoint in upstream.endpoints():
        handler = guarded(upstream, endpoint)
        for prefix in (upstream.prefix, *upstream.also_below):
            app.router.add_route(endpoint.method, prefix + endpoint.path, handler)
    app.router.add_route("*", upstream.prefix + "/{rest:.*}", _no_route(upstream))


def _no_route(upstream: Upstream) -> Handler:
    """404 in the vendor's format for any path or method it does not have."""

    async def handle(request: web.Request) -> web.Response:
        return upstream.error(request, Refusal(404, f"No route {request.method} {request.path}."))

    return handle


@asynccontextmanager
async def serving(world: World, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve until the block ends; yields the base URL with the bound port."""
    # handler_cancellation: a hanging request ends when its client disconnects.
    runner = web.AppRunner(
        build_app(world), access_log=None, handler_cancellation=True, shutdown_timeout=GRACE
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        bound = runner.addresses[0]
        yield f"http://{host}:{bound[1]}"
    finally:
        await runner.cleanup()
        world.studio.close()
