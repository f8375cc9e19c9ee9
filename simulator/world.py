"""One simulator's state: options, clocks, operations, bill and callbacks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from simulator.bill import Bill, truncated
from simulator.callbacks import Callbacks
from simulator.downloads import Links
from simulator.faults import Chaos, Faults, Step
from simulator.operations import Operation, Operations, Order, Script
from simulator.video import Studio

#: Marks a request whose answer a fault keeps from its client.
UNHEARD: Final = web.RequestKey("unheard", bool)
#: Marks a request whose operation a fault makes fail.
DOOMED: Final = web.RequestKey("doomed", bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line's options."""

    #: Speed relative to real vendors: at 20 an operation takes 1.2 to 4 seconds.
    speed: float = 20.0
    #: Another seed gives the same prompts other durations and videos.
    seed: int = 0
    #: Running operations per model at vendors that queue the rest (Runway). None: no limit.
    concurrency: int | None = 20
    #: Unfinished operations at vendors that refuse more with 429 (Luma, Kling). None: no limit.
    cap: int | None = 100
    #: Serve one small fixed clip, for benchmarks.
    tiny: bool = False
    #: Seconds in which a video of `[sim:drip]` is sent, whatever the speed.
    drip: float = 180.0


class World:
    """State shared by the simulated vendors."""

    def __init__(
        self,
        options: Options,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options
        self.wall_clock = wall_clock
        self.operations = Operations(clock=clock, speed=options.speed, seed=options.seed)
        self.bill = Bill()
        self.faults = Faults(clock=clock)
        self.chaos: Chaos | None = None
        #: Ids of what others of an account have made: first in a listing, the newest before all.
        self.strangers: list[str] = []
        self.links = Links(clock=wall_clock)
        self.studio = Studio(tiny=options.tiny)
        self.callbacks = Callbacks(clock=clock, is_lost=self._loses_callback)

    def accept(self, request: web.Request, order: Order) -> Operation:
        """Start and bill the operation; raises UnknownScript before either."""
        body = truncated(order.body)
        more = {Script.FAIL} if request.get(DOOMED, False) else set[Script]()
        operation = self.operations.accept(replace(order, body=body), more=more)
        operation.is_unheard = request.get(UNHEARD, False)
        self.bill.add(
            order.provider,
            order.operation_id,
            path=request.path,
            headers=request.headers,
            body=body,
        )
        return operation

    def _loses_callback(self, operation: Operation) -> bool:
        order = operation.order
        return self.faults.take(order.provider, Step.CALLBACK, prompt=order.prompt) is not None

    def reset(self) -> None:
        self.operations.reset()
        self.bill.reset()
        self.faults.clear()
        self.callbacks.reset()
        self.chaos = None
        self.strangers.clear()
