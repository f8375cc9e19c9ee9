"""Slots: a provider whose POST takes minutes holds few of them, and none that others need."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from models.request import VideoRequest
from models.verbs import What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.loop import Runtime
from tasks.pump import running as lifecycle
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import Desk, FarSide, facing, said
from tests.integration.engine.waiting import until
from transport.base import Request

pytestmark = pytest.mark.anyio

#: A pump that is not told otherwise gives its slot back after so many seconds.
BRIEF = 0.1


class Process:
    """A worker's process as far as pumps know it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.slots = list[asyncio.Task[str]]()

    def hint(self, lane: str) -> asyncio.Task[str]:
        """A slot takes the hint's message and runs the task."""
        runtime = cast("Runtime", self)
        slot = asyncio.create_task(lifecycle._pump(runtime, What.SUBMIT, lane))  # noqa: SLF001
        self.slots.append(slot)
        return slot


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def process(make_engine: MakeEngine, desk: Desk) -> AsyncIterator[Process]:
    environment = {
        "LAYER_API_KEY": "layer-for-tests-of-the-engine",
        "LAYER_GATE_ID": "gate-1",
        "LAYER_BASE_URL": "http://127.0.0.1:9",
        "LONGTAKE_PUMP_SECONDS": BRIEF,
    }
    process = Process(facing(make_engine(**environment), FarSide(desk.hold)))
    yield process
    while desk.calls:  # nothing is left under way
        for task in list(desk.calls):
            await desk.answer(task, said(400, {"error": "invalid", "message": "no"}))
    lifecycle.stopping.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*process.slots)
    lifecycle.stopping.clear()
    await process.engine.close()


async def submitted(process: Process, model: str, *, many: int = 1) -> None:
    for _ in range(many):
        request = VideoRequest.from_json({"prompt": "a quiet sea", "model": model})
        await accept(process.engine, request, tenant="default")


def to(desk: Desk, path: str) -> list[Request]:
    return [request for request, _ in desk.calls.values() if request.url.endswith(path)]


async def test_posts_of_minutes_hold_one_slot_however_many_wait(
    process: Process, desk: Desk
) -> None:
    # Given a POST to Layer that stays open, and one to Runway that hangs
    await submitted(process, "layer/gen4.5")
    await submitted(process, "gen4.5")
    layer, runway = process.hint("layer"), process.hint("runway")
    await until(lambda: len(desk.calls) == 2)
    # When pumps of moments have stopped claiming long since, and more is asked of both
    (brief,) = lifecycle._running[What.SUBMIT, "runway"]  # noqa: SLF001
    await until(lambda: not brief.is_claiming)
    await submitted(process, "layer/gen4.5", many=20)
    again = process.hint("layer")
    # Then Layer's one slot takes it all, and its second was given back at once
    await until(lambda: len(to(desk, "/v3/video")) == 21)
    await until(again.done)
    assert again.result() == "woke the pump that runs"
    assert not layer.done()
    assert not runway.done()


async def test_a_pump_outlives_the_longest_post_of_its_lane(process: Process) -> None:
    engine = process.engine
    for account in engine.accounts:
        claims, finishing = lifecycle.times_of(What.SUBMIT, engine, account)
        assert finishing > engine.submit_timeout(account)
        is_long = engine.provider(account).capabilities.synchronous
        assert (claims > engine.submit_timeout(account)) is is_long
        assert lifecycle.times_of(What.POLL, engine, account)[0] == BRIEF
