"""google-genai finishes whole jobs against the simulator, and so do our adapters."""

import io
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from google.genai import Client
from google.genai._gaos.lib.compat_errors import APIStatusError  # no public name has it
from google.genai.errors import ClientError
from google.genai.interactions import Interaction, ModelOutputStep, VideoContent
from google.genai.types import (
    GenerateVideosConfig,
    GenerateVideosOperation,
    GenerateVideosSource,
    HttpOptions,
    HttpRetryOptions,
)
from google.oauth2.credentials import Credentials

from models.failure import Fault
from providers.base import Accepted, Account, Phase, Video
from providers.exchange import request_for
from providers.registry import PROVIDERS, accounts
from settings import load
from tests.conformance.judging import DATA, ask
from tests.conformance.talking import settled, told
from tests.conformance.watching import Simulator, poll_until

VEO = "veo-3.1-fast-generate-001"
OMNI = "gemini-omni-1.1-flash"
FORMAT = {
    "type": "video",
    "delivery": "uri",
    "aspect_ratio": "9:16",
    "resolution": "360p",
    "duration": "3s",
}


def vertex_at(simulator: Simulator, *, token: str) -> Client:
    return Client(
        enterprise=True,
        project=simulator.env["GOOGLE_CLOUD_PROJECT"],
        location=simulator.env["GOOGLE_CLOUD_LOCATION"],
        credentials=Credentials(token=token),  # type: ignore[no-untyped-call] # google-auth has no types
        http_options=HttpOptions(base_url=simulator.env["GOOGLE_VERTEX_BASE_URL"], timeout=10_000),
    )


def gemini_at(simulator: Simulator, *, key: str) -> Client:
    """An SDK that asks once: by default it repeats an interaction's POST after 429 and 5xx."""
    options = HttpOptions(
        base_url=simulator.env["GOOGLE_GEMINI_BASE_URL"],
        timeout=10_000,
        retry_options=HttpRetryOptions(attempts=1),
    )
    return Client(api_key=key, http_options=options)


@pytest.fixture
def vertex(simulator: Simulator) -> Iterator[Client]:
    with vertex_at(simulator, token=simulator.env["GOOGLE_ACCESS_TOKEN"]) as client:
        yield client


@pytest.fixture
def gemini(simulator: Simulator) -> Iterator[Client]:
    with gemini_at(simulator, key=simulator.env["GEMINI_API_KEY"]) as client:
        yield client


def measures(film: bytes) -> tuple[int, int, float]:
    """Width, height and seconds."""
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))  # never all in memory
        assert stream.average_rate is not None
        return stream.width, stream.height, frames / int(stream.average_rate)


def generate(vertex: Client, prompt: str, **config: Any) -> GenerateVideosOperation:
    return vertex.models.generate_videos(
        model=VEO,
        source=GenerateVideosSource(prompt=prompt),
        config=GenerateVideosConfig(**config) if config else None,
    )


def finished(vertex: Client, operation: GenerateVideosOperation) -> GenerateVideosOperation:
    return poll_until(lambda: vertex.operations.get(operation), lambda seen: seen.done is not None)[
        -1
    ]


def test_googles_sdk_makes_two_videos_at_once(simulator: Simulator, vertex: Client) -> None:
    # When
    begun = generate(
        vertex, "a cat", number_of_videos=2, duration_seconds=4, aspect_ratio="9:16", seed=7
    )
    done = finished(vertex, begun)

    # Then both come as bytes, as asked, and differ
    assert done.error is None
    assert done.response is not None
    films = [each.video.video_bytes for each in done.response.generated_videos or [] if each.video]
    assert [measures(film) for film in films if film] == [(720, 1280, 4.0)] * 2
    assert len(set(films)) == 2

    # And one request is on the bill, by the operation's whole name
    (row,) = simulator.bill()
    assert row["operation_id"] == begun.name
    assert row["body"] == {
        "instances": [{"prompt": "a cat"}],
        "parameters": {
            "sampleCount": 2,
            "durationSeconds": 4,
            "aspectRatio": "9:16",
            "seed": 7,
        },
    }


def test_googles_sdk_sees_what_the_safety_filters_held_back(vertex: Client) -> None:
    done = finished(vertex, generate(vertex, "[sim:moderate] a cat"))

    assert done.error is None
    assert done.response is not None
    assert not done.response.generated_videos
    assert done.response.rai_media_filtered_count == 1
    assert "Support codes" in (done.response.rai_media_filtered_reasons or [""])[0]


def test_googles_sdk_reads_a_failure(vertex: Client) -> None:
    done = finished(vertex, generate(vertex, "[sim:fail] a cat"))

    assert done.response is None
    assert (done.error or {})["code"] == 13


def test_googles_sdk_recognises_vertexs_refusals(simulator: Simulator, vertex: Client) -> None:
    simulator.faults([{"provider": "veo", "on": "submit", "do": "status", "status": 429}])
    with pytest.raises(ClientError) as limited:
        generate(vertex, "a cat")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(ClientError) as wrong:
        generate(vertex, "a cat", duration_seconds=5)
    assert (wrong.value.code, wrong.value.status) == (400, "INVALID_ARGUMENT")
    with vertex_at(simulator, token="x") as stranger, pytest.raises(ClientError) as unknown:
        generate(stranger, "a cat")
    assert unknown.value.code == 401
    assert simulator.bill() == []


def interact(gemini: Client, given: Any, **changes: Any) -> Interaction:
    body = {"model": OMNI, "background": True, "input": given, "response_format": FORMAT}
    interaction = gemini.interactions.create(**body | changes)
    assert isinstance(interaction, Interaction)
    return interaction


def ended(gemini: Client, interaction: Interaction) -> Interaction:
    def look() -> Interaction:
        seen = gemini.interactions.get(str(interaction.id))
        assert isinstance(seen, Interaction)
        return seen

    return poll_until(look, lambda seen: seen.status not in ("queued", "in_progress"))[-1]


def outputs(interaction: Interaction) -> list[object]:
    steps = [step for step in interaction.steps or [] if isinstance(step, ModelOutputStep)]
    return [content for step in steps for content in step.content or []]


def test_googles_sdk_makes_a_video_from_a_picture_and_downloads_it(
    simulator: Simulator, gemini: Client
) -> None:
    # When
    picture = {"type": "image", "data": "aGVsbG8=", "mime_type": "image/png"}
    begun = interact(gemini, [picture, {"type": "text", "text": "a cat"}])
    done = ended(gemini, begun)

    # Then its only output is a file of the API, which the SDK fetches through its redirect
    assert done.status == "completed"
    (video,) = outputs(done)
    assert isinstance(video, VideoContent)
    name = str(video.uri).rpartition("/v1/")[2].removesuffix(":download?alt=media")
    assert measures(gemini.files.download(file=name)) == (360, 640, 3.0)
    assert [row["operation_id"] for row in simulator.bill()] == [begun.id]


def test_googles_sdk_cancels_an_interaction(gemini: Client) -> None:
    begun = interact(gemini, "[sim:never] a cat")

    cancelled = gemini.interactions.cancel(str(begun.id))

    assert cancelled.status == "cancelled"
    assert ended(gemini, begun).status == "cancelled"


def test_googles_sdk_tells_a_refusal_in_words_from_a_failure(gemini: Client) -> None:
    refused = ended(gemini, interact(gemini, "[sim:moderate] a cat"))
    failed = ended(gemini, interact(gemini, "[sim:fail] a cat"))

    assert (refused.status, failed.status) == ("completed", "failed")
    assert not any(isinstance(each, VideoContent) for each in outputs(refused))
    assert "can't make this video" in str(refused.output_text)
    assert [error.message for error in failed.errors or []] == ["An error occurred."]


def test_googles_sdk_recognises_geminis_refusals(simulator: Simulator, gemini: Client) -> None:
    simulator.faults([{"provider": "gemini", "on": "submit", "do": "status", "status": 429}])
    with gemini_at(simulator, key="wrong!") as stranger:
        for client, status, given in (
            (gemini, 429, "a cat"),
            (gemini, 400, ""),
            (stranger, 400, "x"),
        ):
            with pytest.raises(APIStatusError) as caught:
                interact(client, given)
            assert caught.value.status_code == status
    with pytest.raises(APIStatusError) as unknown:
        gemini.interactions.get("nothing")
    assert unknown.value.status_code == 400
    assert simulator.bill() == []


def begun(simulator: Simulator, name: str, **changes: Any) -> str:
    """The id of an operation that our adapter started."""
    asked = ask(**{"prompt": "a cat", "duration_seconds": 4} | changes)
    answer: Accepted = told(simulator, name, lambda provider: provider.submit(asked))
    return answer.operation_id


def downloaded(simulator: Simulator, name: str, video: Video) -> bytes:
    """The video's bytes, with each redirect dressed anew as the store does it."""
    account: Account = accounts(load({"LONGTAKE_DATA_DIR": "/nonexistent", **simulator.env}))[name]
    provider = PROVIDERS[name]
    request = request_for(provider.fetch(video), provider=provider, account=account, now=0.0)
    answer = httpx.get(request.url, headers=dict(request.headers), trust_env=False, timeout=10)
    assert answer.status_code == 302
    # The link behind it carries its own signature.
    return httpx.get(answer.headers["location"], trust_env=False, timeout=10).content


def test_our_adapters_make_videos(simulator: Simulator) -> None:
    veo = begun(simulator, "veo", upstream="veo-3.1-lite-generate-001", count=3, audio=False)
    old = begun(
        simulator, "gemini_veo", upstream="veo-3.1-generate-preview", image=DATA, last_image=DATA
    )
    omni = begun(
        simulator, "gemini", upstream=OMNI, duration_seconds=10, reference_images=(DATA, DATA)
    )

    assert [row["operation_id"] for row in simulator.bill()] == [veo, old, omni]
    videos = settled(simulator, "veo", veo).videos
    assert [measures(video.content or b"") for video in videos] == [(1280, 720, 4.0)] * 3
    for name, operation, seconds in (("gemini_veo", old, 4.0), ("gemini", omni, 10.0)):
        (video,) = settled(simulator, name, operation).videos
        assert measures(downloaded(simulator, name, video)) == (1280, 720, seconds)


@pytest.mark.parametrize(
    ("name", "upstream", "cost"),
    [
        ("veo", "veo-3.1-generate-001", 0),
        ("gemini_veo", "veo-3.1-generate-preview", 0),
        ("gemini", OMNI, None),
    ],
)
def test_our_adapters_are_not_deceived_by_done(
    simulator: Simulator, name: str, upstream: str, cost: int | None
) -> None:
    operation = begun(simulator, name, upstream=upstream, prompt="[sim:moderate] a cat")

    update = settled(simulator, name, operation)

    assert (update.phase, update.cost_micros) == (Phase.FAILED, cost)
    assert update.failure is not None
    assert update.failure.fault is Fault.MODERATED
