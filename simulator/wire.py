"""The request path of a simulated vendor: faults, credentials, then the endpoint."""

import asyncio

from aiohttp import web

from simulator.faults import Do, Fault
from simulator.upstream import Endpoint, Handler, Refusal, Upstream
from simulator.world import DOOMED, UNHEARD

#: Seconds after which a hanging request is dropped if the client still waits.
LONGEST_HANG = 120.0

#: Faults that hide the request's outcome from the client.
_SILENT = frozenset((Do.DROP_AFTER_ACCEPT, Do.HANG, Do.GARBAGE))

#: A 200 response body that is neither JSON nor UTF-8.
GARBAGE = b"\x89<not an answer\xff\xfe{"


def guarded(upstream: Upstream, endpoint: Endpoint) -> Handler:
    """The endpoint as clients see it: faults first, then credentials, then the vendor."""

    async def handle(request: web.Request) -> web.Response:
        world = upstream.world
        if not world.faults.armed and world.chaos is None:
            return await _answer(upstream, endpoint, request)
        fault = await _next_fault(upstream, endpoint, request)
        if fault is None:
            return await _answer(upstream, endpoint, request)
        return await _inject(fault, upstream, endpoint, request)

    return handle


async def _answer(upstream: Upstream, endpoint: Endpoint, request: web.Request) -> web.Response:
    try:
        if not endpoint.public:
            upstream.authorize(request)
        return await endpoint.handle(request)
    except Refusal as refusal:
        return upstream.error(request, refusal)
    except web.HTTPRequestEntityTooLarge:
        return upstream.error(request, Refusal(413, "The request body is too large."))


async def _next_fault(upstream: Upstream, endpoint: Endpoint, request: web.Request) -> Fault | None:
    world, step = upstream.world, endpoint.step
    if step is None:
        return None
    prompt = ""
    if world.faults.need_prompt(upstream.name, step):
        prompt = await upstream.prompt_of(request, step)
    fault = world.faults.take(upstream.name, step, prompt=prompt)
    if fault is None and world.chaos is not None:
        fault = world.chaos.strike(upstream.name, step)
    return fault


async def _inject(
    fault: Fault, upstream: Upstream, endpoint: Endpoint, request: web.Request
) -> web.Response:
    await request.read()
    request[UNHEARD] = fault.do in _SILENT
    request[DOOMED] = fault.do is Do.FAIL
    if fault.do is Do.SHIFT:
        upstream.shift_listing(request)
    match fault.do:
        case Do.STATUS:
            return upstream.error(request, _simulated(fault))
        case Do.DROP_BEFORE_ACCEPT:
            return _close(request)
        case Do.DROP_AFTER_ACCEPT:
            await _answer(upstream, endpoint, request)
            return _close(request)
        case Do.HANG:
            await _answer(upstream, endpoint, request)
            # The server cancels this handler when the client disconnects.
            await asyncio.sleep(LONGEST_HANG)
            return _close(request)
        case Do.FAIL | Do.SHIFT:
            return await _answer(upstream, endpoint, request)
        case Do.GARBAGE:
            await _answer(upstream, endpoint, request)
            return web.Response(body=GARBAGE, content_type="application/json")


def _simulated(fault: Fault) -> Refusal:
    status = fault.status or 500
    return Refusal(status, f"Simulated fault {status}.", retry_after=fault.retry_after)


def _close(request: web.Request) -> web.Response:
    """Close the connection; the returned response is never written."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
