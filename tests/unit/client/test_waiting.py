"""Waiting: by events, by polls where there are none, and not longer than was asked for."""

import json
from typing import Any

import httpx
import pytest

import longtake
from tests.unit.client.conftest import Api, Handler, Pieces, job, refused, told

LIVE = {"content-type": "text/event-stream; charset=utf-8"}
DONE = told(job("complete", outputs=[{"index": 0, "status": "stored", "url": "u"}]))


def event(number: int, data: Any, kind: str = "video.progress") -> bytes:
    return f"event: {kind}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode()


def live(*pieces: bytes | Exception) -> Handler:
    return lambda _: httpx.Response(200, headers=LIVE, stream=Pieces(*pieces))


def paths(api: Api) -> list[str]:
    return [
        request.url.path.removeprefix("/v1/video/generations/job_vid_1") for request in api.asked
    ]


def test_events_tell_of_progress_and_of_the_end(api: Api) -> None:
    api.answers = [
        told(job("pending", prompt="a fox")),
        live(
            b": ping\n\n",
            event(1, job("processing", progress_percent=40)),
            event(2, job("complete"), "video.completed"),
        ),
        DONE,
    ]
    seen: list[longtake.Job] = []

    job_ = api.client().wait("job_vid_1", on_progress=seen.append)

    assert paths(api) == ["", "/events", ""]
    assert [(each.status, each.progress_percent) for each in seen] == [
        ("pending", None),
        ("processing", 40),
        ("complete", None),
    ]
    assert seen[1].prompt == "a fox"
    assert job_.videos[0].url == "u"
    assert api.clock.pauses == []


def test_a_final_job_is_not_waited_for(api: Api) -> None:
    api.answers = [told(job("failed"))]

    assert api.client().wait("job_vid_1").status == "failed"
    assert paths(api) == [""]


@pytest.mark.parametrize(
    "answer",
    [
        *(refused(404), refused(405), refused(429, Retry_After="50"), told({})),
        *(live(httpx.ReadError("reset")), live()),
    ],
    ids=["404", "405", "429", "json", "broken", "closed"],
)
def test_polls_go_on_where_there_are_no_events(api: Api, answer: Handler) -> None:
    states = iter([*["pending"] * 8, "complete"])

    def answered(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return answer(request)
        return httpx.Response(200, json=job(next(states)))

    api.answers = [answered]

    assert api.client(max_retries=2).wait("job_vid_1").status == "complete"
    *_, last = api.clock.pauses
    assert last == max(api.clock.pauses) == 10.0


def test_a_broken_stream_goes_on_after_its_last_event(api: Api) -> None:
    api.answers = [
        live(event(7, job("pending")), event(8, job("processing")), httpx.ReadError("reset")),
        refused(503),
        live(b"retry: 5\n", event(9, job("complete"), "video.completed"), event(10, {})),
    ]

    seen = api.client().events("job_vid_1", last_event_id="6")

    assert [each.id for each in seen] == ["7", "8", "9"]
    assert seen[-1].kind == "video.completed"
    assert seen[-1].is_final
    after = [request.headers["Last-Event-ID"] for request in api.asked]
    assert after == ["6", "8", "8"]
    assert api.asked[0].headers["Accept"] == "text/event-stream"


def test_a_stream_after_its_last_event_is_empty(api: Api) -> None:
    api.answers = [lambda _: httpx.Response(204)]

    assert api.client().events("job_vid_1", last_event_id="9") == []


def test_a_stream_that_brings_nothing_is_given_up(api: Api) -> None:
    api.answers = [live(b": ping\n\n")]

    with pytest.raises(longtake.ConnectionFailed, match="events ended"):
        api.client(max_retries=3).events("job_vid_1", last_event_id="3")

    assert len(api.asked) == 4


@pytest.mark.parametrize(
    "again", [event(3, job("pending")), b'data: {"status": "pending"}\n\n'], ids=["id", "no id"]
)
def test_streams_that_a_proxy_cuts_are_followed_while_nothing_changes(
    api: Api, again: bytes
) -> None:
    api.answers = [*[live(again)] * 9, live(event(4, job("complete")))]

    seen = api.client(max_retries=3).events("job_vid_1", last_event_id="3")

    assert len(seen) == 10
    assert all(0.2 < pause < 1 for pause in api.clock.pauses)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_however_they_are_cut(api: Api, size: int) -> None:
    text = "\r\n".join(
        [
            *(":comment", "event: a", "data: {", 'data: "x": "\u2028\u0085"}', "id: 1", ""),
            *("data:text: more", "", "event: nothing", "", "unknown: field", "data", ""),
            *("event:b", "id: 2", 'data: {"status": "cancelled"}', "", ""),
        ]
    )
    raw = text.encode()
    api.answers = [live(*(raw[at : at + size] for at in range(0, len(raw), size)))]

    first, second, last = api.client().events("job_vid_1")

    assert (first.kind, first.id, first.data) == ("a", "1", {"x": "\u2028\u0085"})
    assert (second.kind, second.id, second.data) == ("message", "1", "text: more")
    assert (last.kind, last.id, last.is_final) == ("b", "2", True)


def test_the_total_time_is_kept_by_polls(api: Api) -> None:
    api.answers = [told(job("processing"))]

    with pytest.raises(longtake.WaitTimeout) as raised:
        api.client().wait("job_vid_1", timeout=7.0)

    assert raised.value.last is not None
    assert raised.value.last.status == "processing"
    assert api.clock.now == pytest.approx(1007.0)
    assert "/events" not in paths(api)


def test_the_total_time_is_kept_while_a_stream_sends_pings_only(api: Api) -> None:
    def pinging(_: httpx.Request) -> httpx.Response:
        class Pings(Pieces):
            def __iter__(self) -> Any:
                while True:
                    api.clock.now += 15
                    yield b": ping\n\n"

        return httpx.Response(200, headers=LIVE, stream=Pings())

    api.answers = [told(job("processing")), pinging, told(job("processing"))]

    with pytest.raises(longtake.WaitTimeout):
        api.client().wait("job_vid_1", timeout=100.0)

    assert api.clock.now == pytest.approx(1100.0)


def test_a_silent_stream_is_not_waited_for_beyond_the_total_time(api: Api) -> None:
    api.answers = [told(job("processing")), live(httpx.ReadTimeout("silent")), DONE]

    api.client().wait("job_vid_1", timeout=30.0)

    timeouts = [request.extensions["timeout"]["read"] for request in api.asked]
    assert timeouts[:2] == [30.0, 30.0]


@pytest.mark.parametrize(
    "away",
    [httpx.ConnectError("refused"), refused(502), refused(503), refused(504)],
    ids=["refused", "502", "503", "504"],
)
def test_a_server_that_is_away_is_waited_for_until_the_time_is_over(
    api: Api, away: Exception | Handler
) -> None:
    api.answers = [told(job(), 202), away]

    with pytest.raises(longtake.WaitTimeout) as raised:
        api.client(max_retries=2).generate("a fox", timeout=900.0)

    assert api.clock.now == pytest.approx(1900.0, abs=10)
    assert raised.value.job_id == "job_vid_1"


def test_a_server_that_comes_back_ends_the_wait_well(api: Api) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        if 1001 < api.clock.now < 1200:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=job("pending" if api.clock.now < 1200 else "complete"))

    api.answers = [answer]

    assert api.client(max_retries=2).wait("job_vid_1", timeout=500).status == "complete"


def test_without_a_timeout_a_server_is_waited_for_five_minutes(api: Api) -> None:
    api.answers = [told(job("processing")), httpx.ConnectError("refused")]

    with pytest.raises(longtake.ConnectionFailed):
        api.client(max_retries=2).wait("job_vid_1")

    assert api.clock.now == pytest.approx(1300.0, abs=30)


@pytest.mark.parametrize(
    "answer", [refused(404), told([]), refused(401)], ids=["404", "no job", "401"]
)
def test_what_generate_raises_tells_the_job(api: Api, answer: Handler) -> None:
    api.answers = [told(job(), 202), answer]

    with pytest.raises(longtake.LongtakeError) as raised:
        api.client().generate("a fox")

    assert raised.value.job_id == "job_vid_1"
    assert raised.value.__notes__ == ["The job job_vid_1 was submitted."]


def test_an_answer_that_drips_is_not_read_beyond_the_total_time(api: Api) -> None:
    def dripping(_: httpx.Request) -> httpx.Response:
        class Drops(Pieces):
            def __iter__(self) -> Any:
                yield b"{"
                for _ in range(1000):
                    api.clock.now += 1
                    yield b" "

        return httpx.Response(200, stream=Drops())

    api.answers = [dripping]

    with pytest.raises(longtake.WaitTimeout):
        api.client().wait("job_vid_1", timeout=5.0)

    assert api.clock.now == pytest.approx(1005.0, abs=3)


def test_more_waits_than_streams_poll(api: Api) -> None:
    client = api.client()
    streams = client.client._wire.streams  # noqa: SLF001 - as if others waited
    while streams.acquire(blocking=False):
        pass
    api.answers = [told(job("processing")), told(job("processing")), DONE]

    assert client.wait("job_vid_1").status == "complete"
    assert paths(api) == ["", "", ""]
    with pytest.raises(longtake.ConnectionFailed, match="50 streams"):
        client.events("job_vid_1")
    streams.release()
    api.answers = [live(event(1, job("complete")))]
    for _ in range(3):  # each gives its stream back
        assert len(client.events("job_vid_1")) == 1


def test_generate_returns_a_complete_job_and_raises_for_others(api: Api) -> None:
    failed = job("failed", error={"code": "content_policy", "message": "not allowed"})
    api.answers = [
        *(told(job(), 202), told(job("complete"))),
        *(told(job(), 202), told(failed)),
        *(told(job(), 202), told(job("cancelled"))),
    ]
    client = api.client()

    assert client.generate("a fox", model="luma").status == "complete"
    assert json.loads(api.asked[0].content) == {"prompt": "a fox", "model": "luma"}
    with pytest.raises(longtake.JobFailed, match="content_policy") as raised:
        client.generate("a fox")
    assert raised.value.job.raw == failed
    with pytest.raises(longtake.JobCancelled):
        client.generate("a fox")
