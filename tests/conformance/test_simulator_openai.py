"""OpenAI's SDK finishes whole jobs against the simulated gateway, and our adapter does as well."""

import io
from collections.abc import Iterator

import av
import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import Video

from providers.base import Phase
from providers.vendors.gateways.openai_videos import OpenaiVideos
from tests.conformance.talking import settled as settled_by_us
from tests.conformance.talking import told
from tests.conformance.test_adapters_on_the_simulator import ask
from tests.conformance.watching import Simulator, poll_until

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

NAME = "openai_videos"


@pytest.fixture
def gateway(simulator: Simulator) -> Iterator[OpenAI]:
    with OpenAI(
        api_key=simulator.env["OPENAI_API_KEY"],
        base_url=simulator.env["OPENAI_BASE_URL"],
        max_retries=0,
        timeout=10,
    ) as client:
        yield client


def settled(gateway: OpenAI, video: Video) -> list[Video]:
    return poll_until(
        lambda: gateway.videos.retrieve(video.id),
        lambda seen: seen.status in ("completed", "failed"),
    )


def shape(film: bytes) -> tuple[int, int, int]:
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        frames = sum(1 for _ in container.decode(stream))  # never all in memory
        return stream.width, stream.height, round(frames / stream.average_rate)


def test_the_sdk_makes_a_video_from_text_and_a_picture(
    simulator: Simulator, gateway: OpenAI
) -> None:
    # When
    created = gateway.videos.create(
        prompt="a cät",
        model="sora-2-pro",
        seconds="8",
        size="1024x1792",
        input_reference=("a.png", b"\x89PNG\r\n\x1a\n", "image/png"),
    )
    seen = settled(gateway, created)

    # Then it went through the states that the SDK knows, and made what was asked
    assert (created.status, created.progress, created.prompt) == ("queued", 0, "a cät")
    assert {one.status for one in seen} <= {"queued", "in_progress", "completed"}
    done = seen[-1]
    assert (done.status, done.progress, done.seconds) == ("completed", 100, "8")
    film = gateway.videos.download_content(created.id).read()
    assert shape(film) == (1024, 1792, 8)
    # And it is on the bill once, with what was sent
    (row,) = simulator.bill()
    body = row["body"]
    assert isinstance(body, dict)
    assert (row["operation_id"], body["prompt"]) == (created.id, "a cät")
    assert body["input_reference"] == {
        "filename": "a.png",
        "content_type": "image/png",
        "bytes": 8,
    }


def test_the_sdks_own_wait_follows_the_answers_header(gateway: OpenAI) -> None:
    done = gateway.videos.create_and_poll(prompt="a cat")
    assert (done.status, done.model, done.size) == ("completed", "sora-2", "720x1280")


def test_the_sdk_lists_and_deletes_videos(gateway: OpenAI) -> None:
    old = gateway.videos.create(prompt="a dog")
    new = gateway.videos.create(prompt="[sim:never] a cat")

    page = gateway.videos.list(limit=1)
    assert [one.id for one in page.data] == [new.id]
    assert [one.id for one in page.get_next_page().data] == [old.id]

    deleted = gateway.videos.delete(new.id)
    assert (deleted.id, deleted.deleted) == (new.id, True)
    with pytest.raises(openai.NotFoundError):
        gateway.videos.retrieve(new.id)


@pytest.mark.parametrize(
    ("script", "code"), [("fail", "video_generation_failed"), ("moderate", "moderation_blocked")]
)
def test_the_sdk_reads_a_failure(gateway: OpenAI, script: str, code: str) -> None:
    created = gateway.videos.create(prompt=f"[sim:{script}] a cat")

    failed = settled(gateway, created)[-1]

    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == code
    with pytest.raises(openai.NotFoundError):
        gateway.videos.download_content(created.id)


def test_the_sdk_recognises_the_refusals(simulator: Simulator, gateway: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        gateway.videos.create(prompt="a cat", size="1792x1024")
    with pytest.raises(openai.AuthenticationError):
        gateway.with_options(api_key="wrong").videos.create(prompt="a cat")
    fault: dict[str, object] = {"provider": NAME, "on": "submit", "do": "status", "status": 429}
    simulator.faults([fault | {"retry_after": 3}])
    with pytest.raises(openai.RateLimitError) as caught:
        gateway.videos.create(prompt="a cat")
    assert caught.value.response.headers["retry-after"] == "3"
    assert simulator.bill() == []


def test_our_adapter_fetches_the_file_with_the_key(simulator: Simulator) -> None:
    # Given a finished video of ours
    provider = OpenaiVideos()
    operation = told(simulator, NAME, lambda one: one.submit(ask(NAME, picture=True))).operation_id
    update = settled_by_us(simulator, NAME, operation)
    assert update.phase is Phase.SUCCEEDED

    # When its content is asked for where the adapter says
    path = provider.fetch(update.videos[0]).path
    address = simulator.env["OPENAI_BASE_URL"] + path
    key = {"Authorization": f"Bearer {simulator.env['OPENAI_API_KEY']}"}

    # Then there is a video with the key, and none without
    assert httpx.get(address, trust_env=False, timeout=60).status_code == 401
    film = httpx.get(address, headers=key, trust_env=False, timeout=60).raise_for_status().content
    assert shape(film) == (1280, 720, 4)
