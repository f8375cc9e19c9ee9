"""The vendors' own SDKs finish whole jobs against the simulator, so that it speaks as they do."""

import typing
from collections.abc import Iterator, Mapping
from typing import get_args, get_origin

import luma_agents
import pytest
import runwayml
from luma_agents import Luma
from luma_agents.types import Generation
from runwayml import RunwayML
from runwayml.types import (
    image_to_video_create_params,
    text_to_video_create_params,
    video_to_video_create_params,
)

from simulator.upstreams.runway_models import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, VIDEO_TO_VIDEO, Rule
from tests.conformance.watching import Simulator, poll_until, watched


@pytest.fixture
def runway(simulator: Simulator) -> Iterator[RunwayML]:
    with RunwayML(
        api_key=simulator.env["RUNWAYML_API_SECRET"],
        base_url=simulator.env["RUNWAYML_BASE_URL"],
        max_retries=0,
        timeout=10,
    ) as client:
        yield client


@pytest.fixture
def luma(simulator: Simulator) -> Iterator[Luma]:
    with Luma(
        auth_token=simulator.env["LUMA_AGENTS_API_KEY"],
        base_url=simulator.env["LUMA_BASE_URL"],
        max_retries=0,
        timeout=10,
    ) as client:
        yield client


def finish(runway: RunwayML, task: str) -> list[runwayml.types.TaskRetrieveResponse]:
    return poll_until(
        lambda: runway.tasks.retrieve(task),
        lambda seen: seen.status in ("SUCCEEDED", "FAILED", "CANCELLED"),
    )


def test_runways_sdk_makes_a_video_from_text(simulator: Simulator, runway: RunwayML) -> None:
    # When
    created = runway.text_to_video.create(
        model="gen4.5", prompt_text="a cat", ratio="720:1280", duration=3, seed=7
    )
    seen = finish(runway, created.id)

    # Then it ran, showed its progress, and succeeded with a video as asked
    progress = [task.progress for task in seen if task.status == "RUNNING"]
    assert progress == sorted(progress)
    assert progress
    done = seen[-1]
    assert done.status == "SUCCEEDED"
    assert done.cost.credits == 36
    assert watched(done.output[0]) == (720, 1280, 3.0, 24)

    # And it is on the bill as it was sent
    (row,) = simulator.bill()
    assert row["operation_id"] == created.id
    assert row["path"] == "/runway/v1/text_to_video"
    assert row["body"] == {
        "model": "gen4.5",
        "promptText": "a cat",
        "ratio": "720:1280",
        "duration": 3,
        "seed": 7,
    }
    assert simulator.polls() == {created.id: len(seen)}


def test_runways_sdk_makes_a_video_from_an_image(runway: RunwayML) -> None:
    created = runway.image_to_video.create(
        model="gen4_turbo",
        prompt_image=[{"uri": "https://pictures.example/a.png", "position": "first"}],
        prompt_text="a cat",
        ratio="960:960",
        duration=2,
    )

    done = finish(runway, created.id)[-1]

    assert done.status == "SUCCEEDED"
    assert watched(done.output[0]) == (960, 960, 2.0, 24)


def test_runways_sdk_cancels_a_task(runway: RunwayML) -> None:
    created = runway.text_to_video.create(
        model="veo3.1", prompt_text="[sim:never] a cat", ratio="1280:720"
    )

    runway.tasks.delete(created.id)

    cancelled = runway.tasks.retrieve(created.id)
    assert cancelled.status == "CANCELLED"


def test_runways_sdk_does_not_find_a_finished_task_that_it_deleted(runway: RunwayML) -> None:
    created = runway.text_to_video.create(
        model="veo3.1", prompt_text="a cat", ratio="1280:720", duration=4
    )
    finish(runway, created.id)

    runway.tasks.delete(created.id)

    with pytest.raises(runwayml.NotFoundError):
        runway.tasks.retrieve(created.id)


def test_runways_sdk_reads_a_moderated_failure(runway: RunwayML) -> None:
    created = runway.text_to_video.create(
        model="gen4.5", prompt_text="[sim:moderate] a cat", ratio="1280:720", duration=5
    )

    failed = finish(runway, created.id)[-1]

    assert failed.status == "FAILED"
    assert failed.failure_code == "SAFETY.INPUT.TEXT"


def test_runways_sdk_recognises_the_refusals(simulator: Simulator, runway: RunwayML) -> None:
    def create(client: RunwayML) -> None:
        client.text_to_video.create(
            model="gen4.5", prompt_text="a cat", ratio="1280:720", duration=99
        )

    with pytest.raises(runwayml.BadRequestError):
        create(runway)
    with pytest.raises(runwayml.AuthenticationError):
        create(runway.with_options(api_key="wrong"))
    simulator.faults([{"provider": "runway", "on": "submit", "do": "status", "status": 429}])
    with pytest.raises(runwayml.RateLimitError):
        create(runway)
    assert simulator.bill() == []


def test_runways_sdk_pays_again_when_an_answer_is_lost(
    simulator: Simulator, runway: RunwayML
) -> None:
    """The trap that Longtake exists for, and the proof that a lost answer can be had here."""
    simulator.faults([{"provider": "runway", "on": "submit", "do": "drop_after_accept"}])

    runway.with_options(max_retries=1).text_to_video.create(
        model="gen4.5", prompt_text="a cat", ratio="1280:720", duration=5
    )

    assert len(simulator.bill()) == 2


def test_lumas_sdk_makes_a_video_from_text_and_frames(simulator: Simulator, luma: Luma) -> None:
    # When
    created = luma.generations.create(
        model="ray-3.2",
        type="video",
        prompt="a cat",
        aspect_ratio="21:9",
        user_id="u1",
        video={
            "duration": "10s",
            "resolution": "360p",
            "start_frame": {"url": "https://pictures.example/a.png"},
            "end_frame": {"url": "https://pictures.example/b.png"},
        },
    )
    done = settle(luma, created.id)

    # Then
    assert created.state == "queued"
    assert done.state == "completed"
    assert done.output
    assert [output.type for output in done.output] == ["video"]
    assert watched(done.output[0].url) == (840, 360, 10.0, 24)
    assert [row["operation_id"] for row in simulator.bill()] == [created.id]


@pytest.mark.parametrize(
    ("script", "code"), [("fail", "generation_failed"), ("moderate", "content_moderated")]
)
def test_lumas_sdk_reads_a_failure(luma: Luma, script: str, code: str) -> None:
    created = luma.generations.create(type="video", prompt=f"[sim:{script}] a cat")

    failed = settle(luma, created.id)

    assert failed.state == "failed"
    assert failed.failure_code == code


def test_lumas_sdk_recognises_the_refusals(simulator: Simulator, luma: Luma) -> None:
    with pytest.raises(luma_agents.UnprocessableEntityError):
        luma.generations.create(type="video", prompt="")
    with pytest.raises(luma_agents.AuthenticationError):
        luma.with_options(auth_token="wrong").generations.create(type="video", prompt="a cat")
    with pytest.raises(luma_agents.NotFoundError):
        luma.generations.get("nothing")
    simulator.faults([{"provider": "luma_agents", "on": "submit", "do": "status", "status": 429}])
    with pytest.raises(luma_agents.RateLimitError):
        luma.generations.create(type="video", prompt="a cat")
    assert simulator.bill() == []


def settle(luma: Luma, generation: str) -> Generation:
    return poll_until(
        lambda: luma.generations.get(generation),
        lambda seen: seen.state in ("completed", "failed"),
    )[-1]


@pytest.mark.parametrize(
    ("params", "rules"),
    [
        (text_to_video_create_params.TextToVideoCreateParams, TEXT_TO_VIDEO),
        (image_to_video_create_params.ImageToVideoCreateParams, IMAGE_TO_VIDEO),
        (video_to_video_create_params.VideoToVideoCreateParams, VIDEO_TO_VIDEO),
    ],
)
def test_runways_table_of_models_is_the_sdks(params: object, rules: Mapping[str, Rule]) -> None:
    shapes = [members_of(shape) for shape in get_args(params)]

    assert {literals(shape["model"][1])[0] for shape in shapes} == set(rules)
    for shape in shapes:
        rule = rules[str(literals(shape["model"][1])[0])]
        required = {name for name, (needed, _) in shape.items() if needed}
        assert required == rule.required | {"model"}
        assert set(shape) == rule.fields
        for name, allowed in (("ratio", rule.ratios), ("resolution", rule.resolutions)):
            assert set(literals(shape[name][1]) if name in shape else ()) == set(allowed)


def members_of(shape: type) -> dict[str, tuple[bool, object]]:
    """The members of one of the SDK's typed dictionaries by their name on the wire."""
    members = {}
    for name, hint in typing.get_type_hints(shape, include_extras=True).items():
        alias, needed, inner = name, False, hint
        while get_origin(inner) in (typing.Required, typing.Annotated):
            needed = needed or get_origin(inner) is typing.Required
            alias = next((a for a in map(alias_of, getattr(inner, "__metadata__", ())) if a), alias)
            inner = get_args(inner)[0]
        members[alias] = (needed, inner)
    return members


def alias_of(mark: object) -> str | None:
    return getattr(mark, "alias", None)


def literals(hint: object) -> tuple[object, ...]:
    return get_args(hint) if get_origin(hint) is typing.Literal else ()
