"""A simulator in the test's own loop, whose time only moves when the test says so."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from simulator.app import serving
from simulator.world import Options, World


@dataclass(slots=True)
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def options() -> Options:
    """At a vendor's own pace, so that a step of the clock means what the vendor's documents say."""
    return Options(speed=1.0, concurrency=2, cap=2)


@pytest.fixture
def world(options: Options, clock: Clock) -> World:
    return World(options, clock=clock, wall_clock=clock)


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(world) as address,
        httpx.AsyncClient(base_url=address, timeout=5.0, trust_env=False) as client,
    ):
        yield client
