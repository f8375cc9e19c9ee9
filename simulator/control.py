"""The `/_sim` routes, with which tests and operators control the simulator."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from aiohttp import web

from simulator.faults import BadFault, Fault, parse_chaos, parse_faults
from simulator.operations import Phase
from simulator.upstream import Upstream, origin_of, reply
from simulator.world import World


class Control:
    """The routes under `/_sim`; a list is `{"data": […]}`, an error 400 `{"error": text}`."""

    def __init__(self, world: World, upstreams: Sequence[Upstream]) -> None:
        self._world = world
        self._upstreams = upstreams

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/health", self.health),
            web.get("/_sim/env", self.env),
            web.get("/_sim/bill", self.bill),
            web.get("/_sim/polls", self.polls),
            web.get("/_sim/operations", self.operations),
            web.get("/_sim/callbacks", self.callbacks),
            web.get("/_sim/faults", self.faults),
            web.post("/_sim/faults", self.install_faults),
            web.delete("/_sim/faults", self.clear_faults),
            web.post("/_sim/chaos", self.start_chaos),
            web.delete("/_sim/chaos", self.end_chaos),
            web.post("/_sim/reset", self.reset),
        ]

    async def health(self, _request: web.Request) -> web.Response:
        return reply({"status": "ok", "providers": [upstream.name for upstream in self._upstreams]})

    async def env(self, request: web.Request) -> web.Response:
        """The variables that point a client at this server, as reached by this request."""
        variables: dict[str, str] = {}
        for upstream in self._upstreams:
            variables |= upstream.environment(origin_of(request))
        return reply(variables)

    async def bill(self, _request: web.Request) -> web.Response:
        return reply({"data": self._world.bill.rows()})

    async def polls(self, _request: web.Request) -> web.Response:
        """Each operation's number of polls, and the Unix time at which it ended by itself."""
        now, wall = self._world.operations.now(), self._world.wall_clock()
        rows = [
            {
                "provider": operation.order.provider,
                "operation_id": operation.id,
                "polls": operation.polls,
                "ended_at": wall - now + operation.finishes_at
                if operation.phase(now) in {Phase.SUCCEEDED, Phase.FAILED}
                else None,
            }
            for operation in self._world.operations
        ]
        return reply({"data": rows})

    async def operations(self, _request: web.Request) -> web.Response:
        """What every accepted operation is doing, deleted ones included."""
        now = self._world.operations.now()
        rows = [
            {
                "provider": operation.order.provider,
                "operation_id": operation.id,
                "phase": operation.phase(now).value,
            }
            for operation in self._world.operations
        ]
        return reply({"data": rows})

    async def callbacks(self, _request: web.Request) -> web.Response:
        """Every callback sent, with the status of each try."""
        return reply({"data": [asdict(each) for each in self._world.callbacks.deliveries()]})

    async def faults(self, _request: web.Request) -> web.Response:
        return reply({"data": [_row(fault, left) for fault, left in self._world.faults.pending()]})

    async def install_faults(self, request: web.Request) -> web.Response:
        """Add faults after the pending ones."""
        try:
            names = [upstream.name for upstream in self._upstreams]
            faults = parse_faults(await _json(request), providers=names)
        except BadFault as error:
            return reply({"error": str(error)}, status=400)
        self._world.faults.install(faults)
        return await self.faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._world.faults.clear()
        return await self.faults(request)

    async def start_chaos(self, request: web.Request) -> web.Response:
        """Inject random faults until DELETE or a reset."""
        try:
            chaos = parse_chaos(await _json(request))
        except BadFault as error:
            return reply({"error": str(error)}, status=400)
        self._world.chaos = chaos
        return reply({"seed": chaos.seed, "rate": chaos.rate, "do": chaos.do})

    async def end_chaos(self, _request: web.Request) -> web.Response:
        self._world.chaos = None
        return reply({})

    async def reset(self, _request: web.Request) -> web.Response:
        """Forget every operation, charge and fault, and stop random faults."""
        self._world.reset()
        return reply({})


def _row(fault: Fault, left: int) -> dict[str, object]:
    given = {key: value for key, value in asdict(fault).items() if value is not None}
    if fault.seconds is not None:
        del given["times"]
        return given
    return {**given, "times": left}


async def _json(request: web.Request) -> object:
    try:
        body: object = json.loads(await request.read())
    except ValueError as error:
        raise BadFault("the body is not valid JSON") from error
    return body
