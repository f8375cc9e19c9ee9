"""Luma's older SDK finishes whole jobs against the simulator, so that it speaks as the SDK does."""

from collections.abc import Iterator

import lumaai
import pytest
from lumaai import LumaAI
from lumaai.types import Generation

from tests.conformance.watching import Simulator, poll_until, watched


@pytest.fixture
def luma(simulator: Simulator) -> Iterator[LumaAI]:
    with LumaAI(
        auth_token=simulator.env["LUMAAI_API_KEY"],
        base_url=simulator.env["LUMAAI_BASE_URL"],
        max_retries=0,
        timeout=10,
    ) as client:
        yield client


def name_of(generation: Generation) -> str:
    assert generation.id is not None
    return generation.id


def settled(luma: LumaAI, generation: Generation) -> list[Generation]:
    return poll_until(
        lambda: luma.generations.get(name_of(generation)),
        lambda seen: seen.state in ("completed", "failed"),
    )


def test_the_sdk_makes_a_video_from_text_and_frames(simulator: Simulator, luma: LumaAI) -> None:
    # When
    created = luma.generations.video.create(
        model="ray-2",
        prompt="a cat",
        aspect_ratio="21:9",
        duration="9s",
        resolution="540p",
        loop=False,
        keyframes={
            "frame0": {"type": "image", "url": "https://pictures.example/a.png"},
            "frame1": {"type": "generation", "id": "g0"},
        },
        concepts=[{"key": "dolly_zoom"}],
    )
    seen = settled(luma, created)

    # Then it went through the states that the SDK knows, and made what was asked
    assert created.state == "queued"
    assert {one.state for one in seen} <= {"queued", "dreaming", "completed"}
    done = seen[-1]
    assert done.state == "completed"
    assert done.assets is not None
    assert done.assets.video is not None
    assert watched(done.assets.video) == (1260, 540, 9.0, 24)
    # And it is on the bill once
    assert [row["operation_id"] for row in simulator.bill()] == [created.id]


def test_the_sdk_lists_generations_with_the_requests_that_made_them(luma: LumaAI) -> None:
    address = "http://127.0.0.1:9/callbacks/m1"
    old = luma.generations.create(model="ray-flash-2", prompt="a dog")
    new = luma.generations.create(model="ray-2", prompt="a cat", callback_url=address)

    listed = luma.generations.list(limit=1, offset=0)
    rest = luma.generations.list(limit=1, offset=1)

    assert [one.id for one in listed.generations] == [new.id]
    assert (listed.has_more, rest.has_more) == (True, False)
    assert [one.id for one in rest.generations] == [old.id]
    request = listed.generations[0].request
    assert isinstance(request, lumaai.types.generation.RequestGenerationRequest)
    assert (request.prompt, request.callback_url) == ("a cat", address)


def test_the_sdk_deletes_a_generation(luma: LumaAI) -> None:
    created = luma.generations.create(model="ray-2", prompt="[sim:never] a cat")

    luma.generations.delete(name_of(created))

    with pytest.raises(lumaai.NotFoundError):
        luma.generations.get(name_of(created))


@pytest.mark.parametrize(("script", "word"), [("fail", "failed"), ("moderate", "moderation")])
def test_the_sdk_reads_a_failure(luma: LumaAI, script: str, word: str) -> None:
    created = luma.generations.create(model="ray-2", prompt=f"[sim:{script}] a cat")

    failed = settled(luma, created)[-1]

    assert failed.state == "failed"
    assert word in (failed.failure_reason or "")


def test_the_sdk_recognises_the_refusals(simulator: Simulator, luma: LumaAI) -> None:
    with pytest.raises(lumaai.BadRequestError):
        luma.generations.create(model="ray-2", prompt="")
    with pytest.raises(lumaai.AuthenticationError):
        luma.with_options(auth_token="wrong").generations.create(model="ray-2", prompt="a cat")
    fault: dict[str, object] = {"provider": "luma_dream_machine", "on": "submit", "do": "status"}
    simulator.faults([fault | {"status": 429}])
    with pytest.raises(lumaai.RateLimitError):
        luma.generations.create(model="ray-2", prompt="a cat")
    assert simulator.bill() == []
