"""One simulator's whole state, from its options and clocks to its bill and its callbacks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiohttp import web

from simulator.bill import Bill, abridged
from simulator.callbacks import Callbacks
from simulator.downloads import Links
from simulator.faults import Chaos, Faults
from simulator.operations import Operation, Operations, Order
from simulator.video import Studio


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line can change."""

    #: How many times faster than a vendor: at 20 an operation takes 1.2 to 4 seconds.
    speed: float = 20.0
    #: Another seed gives the same prompts other durations and other videos.
    seed: int = 0
    #: Places per model at vendors that hold what is beyond them (Runway). None: no limit.
    concurrency: int | None = 20
    #: Unfinished operations at vendors that refuse more with 429 (Luma, Kling). None: no limit.
    cap: int | None = 100
    #: Serve one small fixed clip instead of filming, for benchmarks.
    tiny: bool = False


class World:
    """What the simulated vendors share."""

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
        self.faults = Faults()
        self.chaos: Chaos | None = None
        self.links = Links(clock=wall_clock)
        self.studio = Studio(tiny=options.tiny)
        self.callbacks = Callbacks(clock=clock)

    def accept(self, request: web.Request, order: Order) -> Operation:
        """Start the operation and bill it, together. Raises UnknownScript before either."""
        body = abridged(order.body)
        operation = self.operations.accept(replace(order, body=body))
        self.bill.add(
            order.provider,
            order.operation_id,
            path=request.path,
            headers=request.headers,
            body=body,
        )
        return operation

    def reset(self) -> None:
        self.operations.reset()
        self.bill.reset()
        self.faults.clear()
        self.callbacks.reset()
        self.chaos = None
