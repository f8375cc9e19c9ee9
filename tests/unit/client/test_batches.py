"""Batches: what is sent, sent again and read back line by line."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import longtake
from longtake import AsyncClient, bodies
from tests.unit.client.conftest import Api, Pieces, Speaker, refused, told

BATCH = {
    "id": "batch_1",
    "object": "batch",
    "status": "in_progress",
    "counts": {"total": 2, "pending": 2, "invalid": 0},
    "created_at": "2026-11-22T01:02:03Z",
    "errors": [],
}
ACCEPTED = told(BATCH, 202)
LINES = b'{"prompt":"a","custom_id":"1"}\n{"prompt":"b"}\n'


def requests() -> Iterator[dict[str, str]]:
    yield {"prompt": "a", "custom_id": "1"}
    yield {"prompt": "b"}


def sent(api: Api) -> list[bytes]:
    return [request.content for request in api.asked]


@pytest.mark.parametrize("spooled_to", ["memory", "disk"])
def test_an_iterator_is_sent_again_whole_under_the_same_key(
    api: Api, spooled_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "IN_MEMORY", 1 if spooled_to == "disk" else 1000)
    api.answers = [httpx.ReadError("reset"), refused(503), ACCEPTED]

    batch = api.client().batch(requests())

    assert (batch.id, batch.counts.pending, batch.is_final) == ("batch_1", 2, False)
    assert sent(api) == [LINES] * 3
    assert len({request.headers["Idempotency-Key"] for request in api.asked}) == 1
    for request in api.asked:
        assert request.headers["Content-Length"] == str(len(LINES))
        assert "Transfer-Encoding" not in request.headers
        assert request.headers["Content-Type"] == "application/jsonl"
        assert request.extensions["timeout"]["read"] == 300


def test_requests_may_come_asynchronously(api: Api) -> None:
    if api.kind is not AsyncClient:
        return
    api.answers = [ACCEPTED]

    async def coming() -> Any:
        for each in requests():
            yield each

    api.client().batch(coming())

    assert sent(api) == [LINES]


def test_options_are_the_first_line(api: Api) -> None:
    api.answers = [ACCEPTED]

    api.client().batch(requests(), max_cost_usd=5, defaults={"model": "luma"}, app_id="shop")

    first, rest = sent(api)[0].split(b"\n", 1)
    assert json.loads(first) == {
        "batch": {"first_line": 1, "max_cost_usd": 5, "defaults": {"model": "luma"}}
    }
    assert rest == LINES
    assert api.asked[0].headers["X-App-ID"] == "shop"


@pytest.mark.parametrize("source", ["path", "bytes", "file"])
def test_a_document_is_sent_as_it_is(api: Api, source: str, tmp_path: Path) -> None:
    document = b'[{"prompt": "a"}]'
    (tmp_path / "batch.json").write_bytes(document)
    given = {
        "path": tmp_path / "batch.json",
        "bytes": document,
        "file": io.BufferedReader(io.BytesIO(document)),
    }
    api.answers = [httpx.ReadError("reset"), ACCEPTED]

    api.client().batch(given[source])

    assert sent(api) == [document] * 2


def test_options_go_before_the_lines_of_a_document(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES)
    api.answers = [ACCEPTED]
    client = api.client()

    client.batch(path, name="foxes")

    assert sent(api) == [b'{"batch":{"first_line":1,"name":"foxes"}}\n' + LINES]
    with pytest.raises(ValueError, match="array"):
        client.batch(b'\n [{"prompt": "a"}]', name="foxes")


@pytest.mark.parametrize("bad", [["a fox"], [["a"]], [{"x": object()}], [{"x": float("nan")}], "p"])
def test_what_is_no_request_is_not_sent(api: Api, bad: Any) -> None:
    api.answers = [ACCEPTED]

    with pytest.raises((TypeError, ValueError)):
        api.client().batch(bad)

    assert api.asked == []


def line(number: int) -> dict[str, Any]:
    job = {"id": f"job_{number}", "status": "complete"}
    return {"line": number, "custom_id": None, "status": "complete", "job": job, "error": None}


def test_results_come_in_order_and_go_on_after_a_break(api: Api) -> None:
    one, two, three = (json.dumps(line(number)).encode() + b"\n" for number in (1, 2, 3))
    broken = httpx.Response(200, stream=Pieces(one + two[:20], two[20:-1], httpx.ReadError("")))
    broken_later = httpx.Response(200, stream=Pieces(two, three[:9], httpx.ReadError("")))
    api.answers = [
        broken,
        broken_later,
        httpx.Response(200, stream=Pieces(three.rstrip(b"\n"))),
    ]

    results = batches(api.client(max_retries=1), "results", "batch_1", status="complete")

    assert [each.line for each in results] == [1, 2, 3]
    assert results[0].job.id == "job_1"
    assert [dict(request.url.params) for request in api.asked] == [
        {"status": "complete"},
        {"status": "complete", "after": "1"},
        {"status": "complete", "after": "2"},
    ]


def test_text_of_a_line_may_have_every_separator(api: Api) -> None:
    told_of = {"code": "c", "message": "a\u2028b\u0085c\x1d\x0c"}
    text = json.dumps(line(1) | {"status": "failed", "error": told_of}, ensure_ascii=False)
    api.answers = [httpx.Response(200, content=f"{text}\r\n\n".encode())]

    (result,) = batches(api.client(), "results", "batch_1")

    assert result.error.message == told_of["message"]


def batches(client: Speaker, method: str, *args: Any, **names: Any) -> Any:
    return client.__getattr__(f"batches.{method}")(*args, **names)


def test_a_batch_is_waited_for_by_its_events(api: Api) -> None:
    progress = BATCH | {"counts": {"total": 2, "complete": 1, "pending": 1}}
    final = BATCH | {"status": "completed", "counts": {"total": 2, "complete": 2}}
    text = "".join(
        f"event: {kind}\nid: {number}\ndata: {json.dumps(data)}\n\n"
        for number, (kind, data) in enumerate(
            [("batch.progress", progress), ("batch.completed", final)]
        )
    )
    stream = httpx.Response(
        200, headers={"content-type": "text/event-stream"}, content=text.encode()
    )
    api.answers = [told(BATCH), stream, told(final)]
    seen: list[int] = []

    batch = batches(
        api.client(),
        "wait",
        "batch_1",
        timeout=60,
        on_progress=lambda batch: seen.append(batch.counts.complete),
    )

    assert batch.is_final
    assert seen == [0, 1, 2]


def test_other_calls_go_where_they_should(api: Api) -> None:
    page = {"data": [BATCH], "has_more": False, "next": None}
    api.answers = [told(BATCH), told(page), told(BATCH), ACCEPTED]
    client = api.client()

    batches(client, "get", "batch_1")
    assert [each.id for each in batches(client, "list", app_id="shop")] == ["batch_1"]
    batches(client, "cancel", "batch_1")
    batches(client, "retry", "batch_1", include_cancelled=True)

    assert [f"{request.method} {request.url.path}" for request in api.asked] == [
        "GET /v1/batches/batch_1",
        "GET /v1/batches",
        "POST /v1/batches/batch_1/cancel",
        "POST /v1/batches/batch_1/retry",
    ]
    assert json.loads(api.asked[3].content) == {"include_cancelled": True}
    assert api.asked[3].headers["Idempotency-Key"]


def test_a_line_of_endless_length_is_not_kept(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longtake.streams, "LONGEST_LINE", 100)
    api.answers = [lambda _: httpx.Response(200, stream=Pieces(b"x" * 60, b"x" * 60))]

    with pytest.raises(longtake.UnreadableAnswer):
        batches(api.client(), "results", "batch_1")
