"""What is particular to one vendor: cost, progress, cancelling, the choice among outputs."""

import json
from typing import Any

import pytest

from models.failure import Fault
from providers.base import NOT_FOUND, Call, Flow, Provider, Update
from providers.failures import by_status
from providers.registry import PROVIDERS
from providers.vendors.luma_agents import LumaAgents
from providers.vendors.runway import Runway
from transport.base import Response

LINK = "https://cdn.example.com/v.mp4?sig=a%2Bb"


def answered(flow: Flow[Any], body: object, *, status: int = 200) -> tuple[Call, Any]:
    """The flow's only call, and what it makes of the answer."""
    call = next(flow)
    content = json.dumps(body).encode()
    with pytest.raises(StopIteration) as done:
        flow.send(Response(status=status, headers={}, content=content))
    return call, done.value.value


def task(**fields: object) -> Update:
    _, updates = answered(Runway().poll(["t"]), {"id": "t", **fields})
    update: Update = updates["t"]
    return update


def test_runway_reports_progress_only_while_running() -> None:
    assert task(status="RUNNING", progress=0.25).progress == 0.25
    assert task(status="RUNNING", progress=1.5).progress == 1.0
    assert task(status="RUNNING").progress is None
    assert task(status="PENDING", progress=0.25).progress is None


@pytest.mark.parametrize("progress", [-0.1, float("nan"), float("inf"), "half", True, []])
def test_runways_progress_must_be_a_number(progress: object) -> None:
    with pytest.raises(ValueError, match="progress"):
        task(status="RUNNING", progress=progress)


def test_runways_credits_are_cents_on_final_tasks() -> None:
    done = {"status": "SUCCEEDED", "output": [LINK]}
    assert task(**done, cost={"credits": 60}).cost_micros == 600_000
    assert task(status="FAILED", cost={"credits": 0}).cost_micros == 0
    assert task(status="CANCELLED", cost={"credits": 12}).cost_micros == 120_000
    # An estimate is not a cost, and an older version of the API says nothing.
    assert task(status="PENDING", estimatedCost={"credits": 60}).cost_micros is None
    assert task(**done).cost_micros is None


def test_runways_cancel_deletes_the_task() -> None:
    call, _ = answered(Runway().cancel("t/1"), None, status=204)
    assert (call.method, call.path) == ("DELETE", "/v1/tasks/t%2F1")


CANCELLING = [one for one in PROVIDERS.values() if one.capabilities.cancel]


@pytest.mark.parametrize("provider", CANCELLING, ids=lambda one: one.name)
def test_a_denied_cancel_is_never_taken_as_done(provider: Provider) -> None:
    """The verb decides how often it believes a 404."""
    call = next(provider.cancel("owner/app/requests/1"))
    assert NOT_FOUND not in call.accept
    assert by_status(NOT_FOUND) is Fault.GONE


def test_luma_gives_only_the_videos_among_its_outputs() -> None:
    outputs = [{"type": "exr", "url": f"{LINK}.exr"}, {"type": "video", "url": LINK}]
    body = {"id": "g", "state": "completed", "output": outputs}
    _, updates = answered(LumaAgents().poll(["g"]), body)
    assert [video.url for video in updates["g"].videos] == [LINK]
