"""Repeated looks at one operation: only what stays the same is built and parsed once."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import pytest

from providers.again import MOST_KEPT, Asker, Kept
from providers.base import Account, Flow, Phase, ProviderError, Update
from providers.registry import PROVIDERS
from providers.vendors.fal.fal import Fal
from providers.vendors.gateways.openai_videos import OpenaiVideos
from providers.vendors.runway import Runway
from transport.answer import Fields
from transport.base import BadAnswer, Request, Response

RUNNING: Mapping[str, object] = {"id": "1", "status": "RUNNING", "progress": 0.5}


@dataclass
class Vendor:
    """A client that returns the answers in turn, and then the last one forever."""

    answers: list[tuple[int, Mapping[str, object]]]
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        headers = Fields([(name.encode(), text.encode()) for name, text in self.headers.items()])
        return Response(status=status, headers=headers, content=json.dumps(body).encode())

    async def close(self) -> None:
        """Do nothing."""


class Counted(Runway):
    """Runway with a key that can change; counts the polls that its verb parses."""

    def __init__(self) -> None:
        self.read = 0
        self.key = "one"

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:
        return {**super().authorize(account, now=now), "authorization": self.key}

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        self.read += 1
        return super().poll(operation_ids)


def account(provider: str, variable: str) -> Account:
    base = "https://api.example.com"
    return Account(name=provider, provider=provider, base_url=base, credentials={variable: "key"})


RUNWAY = account("runway", "RUNWAYML_API_SECRET")


def looks(asker: Asker, count: int) -> list[Update | None]:
    kept = Kept()

    async def look() -> list[Update | None]:
        return [await asker.look("1", kept) for _ in range(count)]

    return asyncio.run(look())


def test_an_answer_with_the_same_bytes_is_read_once() -> None:
    provider, vendor = Counted(), Vendor([(200, RUNNING)])

    found = looks(Asker(provider, RUNWAY, vendor), 5)

    assert found == [Update(phase=Phase.RUNNING, progress=0.5)] * 5
    assert len(vendor.requests) == 5
    assert len({id(request) for request in vendor.requests[1:]}) == 1
    assert vendor.requests[0] == vendor.requests[1]
    assert provider.read == 1


def test_a_new_answer_is_read() -> None:
    further, ended = {**RUNNING, "progress": 0.6}, {"id": "1", "status": "CANCELLED"}
    vendor = Vendor([(200, RUNNING), (200, further), (200, further), (200, RUNNING), (200, ended)])

    found = looks(Asker(Counted(), RUNWAY, vendor), 6)

    assert [update.progress for update in found[:4] if update] == [0.5, 0.6, 0.6, 0.5]
    assert [update.phase for update in found[4:] if update] == [Phase.CANCELLED] * 2


def test_another_status_with_the_same_bytes_is_no_repetition() -> None:
    vendor = Vendor([(200, RUNNING), (404, RUNNING), (404, RUNNING), (200, RUNNING)])

    found = looks(Asker(Counted(), RUNWAY, vendor), 4)

    assert [update is None for update in found] == [False, True, True, False]


def test_an_error_between_two_answers_is_told_each_time() -> None:
    asker = Asker(Counted(), RUNWAY, Vendor([(200, RUNNING), (429, {}), (429, {}), (200, RUNNING)]))
    kept = Kept()

    assert asyncio.run(asker.look("1", kept)) is not None
    for _ in range(2):
        with pytest.raises(ProviderError):
            asyncio.run(asker.look("1", kept))
    assert asyncio.run(asker.look("1", kept)) is not None


def test_an_answer_that_can_not_be_read_is_a_fault_each_time() -> None:
    asker, kept = Asker(Counted(), RUNWAY, Vendor([(200, {"id": "1"})])), Kept()

    for _ in range(3):
        with pytest.raises(BadAnswer):
            asyncio.run(asker.look("1", kept))


def test_a_new_key_is_sent_from_the_next_look_on() -> None:
    provider, vendor = Counted(), Vendor([(200, RUNNING)])
    asker, kept = Asker(provider, RUNWAY, vendor), Kept()

    for provider.key in ("one", "one", "two", "two", "one"):
        asyncio.run(asker.look("1", kept))

    sent = [request.headers["authorization"] for request in vendor.requests]
    assert sent == ["one", "one", "two", "two", "one"]


def test_operations_of_an_account_share_their_headers() -> None:
    vendor = Vendor([(200, RUNNING)])
    asker, all_kept = Asker(Counted(), RUNWAY, vendor), [Kept(), Kept()]

    for id_ in ("1", "2", "1", "2"):
        asyncio.run(asker.look(id_, all_kept[int(id_) - 1]))

    assert [request.url[-1] for request in vendor.requests] == ["1", "2", "1", "2"]
    assert vendor.requests[2].headers is vendor.requests[3].headers


def test_an_answer_whose_headers_count_is_read_each_time() -> None:
    vendor = Vendor([(200, {"id": "1", "status": "in_progress"})])
    asker = Asker(OpenaiVideos(), account("openai_videos", "OPENAI_API_KEY"), vendor)
    kept, waits = Kept(), list[float | None]()

    for wait in ("5000", "9000"):
        vendor.headers = {"openai-poll-after-ms": wait}
        update = asyncio.run(asker.look("1", kept))
        waits.append(update.poll_after if update else None)

    assert waits == [5.0, 9.0]


def test_a_large_answer_is_not_kept() -> None:
    provider = Counted()
    vendor = Vendor([(200, {**RUNNING, "prompt": "a" * MOST_KEPT})])

    assert (
        looks(Asker(provider, RUNWAY, vendor), 3) == [Update(phase=Phase.RUNNING, progress=0.5)] * 3
    )
    assert provider.read == 3


def test_what_is_kept_of_an_operation_does_not_grow_with_its_answer() -> None:
    def taken(size: int) -> int:
        vendor, kept = Vendor([(200, {**RUNNING, "prompt": "a" * size})]), Kept()
        asyncio.run(Asker(Counted(), RUNWAY, vendor).look("1", kept))
        assert kept.update is not None
        return sum(sys.getsizeof(getattr(kept, each.name)) for each in fields(kept))

    assert taken(MOST_KEPT - 100) < taken(0) + 100


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_verb_asks_the_same_of_the_same_operation(name: str) -> None:
    provider = PROVIDERS[name]

    # A synchronous provider has no polls
    assert next(provider.poll(["1"]), None) == next(provider.poll(["1"]), None)


def test_an_answer_that_leads_to_another_request_is_read_each_time() -> None:
    completed: Mapping[str, object] = {"status": "COMPLETED", "logs": None, "metrics": {}}
    place = "fal-ai/pika/requests/1"
    video = {"video": {"url": "https://videos.example.com/1.mp4"}}
    vendor = Vendor([(200, completed), (200, video), (200, completed), (200, video)])
    asker, kept = Asker(Fal(), account("fal", "FAL_KEY"), vendor), Kept()

    for _ in range(2):
        update = asyncio.run(asker.look(place, kept))
        assert update is not None
        assert update.phase is Phase.SUCCEEDED

    paths = [request.url.partition("?")[0].rpartition("/")[2] for request in vendor.requests]
    assert paths == ["status", "1", "status", "1"]
