"""What is sent again and what is not, which errors are raised, and that no secret is shown."""

import json
import re
from typing import Any

import httpx
import pytest

import longtake
from longtake import AsyncClient, Client
from tests.unit.client.conftest import KEY, Api, Pieces, job, refused, told

CREATED = told(job(), 202)
LOST = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("late"),
    httpx.ReadError("reset"),
    httpx.ReadTimeout("silent"),
    httpx.RemoteProtocolError("cut"),
]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__)
def test_a_lost_answer_is_asked_for_again_under_the_same_key(
    api: Api, lost: httpx.TransportError
) -> None:
    api.answers = [lost, lost, CREATED]

    made = api.client().submit("a fox", model="luma", app_id="shop")

    assert made.id == "job_vid_1"
    first, *others = api.asked
    assert len(others) == 2
    assert re.fullmatch(r"[0-9a-f-]{36}", first.headers["Idempotency-Key"])
    assert first.headers["X-App-ID"] == "shop"
    assert json.loads(first.content) == {"prompt": "a fox", "model": "luma"}
    for other in others:
        assert other.headers["Idempotency-Key"] == first.headers["Idempotency-Key"]
        assert other.content == first.content


def test_an_answer_that_breaks_off_is_asked_for_again(api: Api) -> None:
    cut = httpx.Response(202, stream=Pieces(b'{"id": "jo', httpx.ReadError("reset")))
    api.answers = [cut, CREATED]

    assert api.client().submit("a fox").id == "job_vid_1"


def test_two_submissions_have_two_keys_and_a_given_key_is_kept(api: Api) -> None:
    api.answers = [CREATED]
    client = api.client()

    client.submit("a fox")
    client.submit("a fox")
    client.submit("a fox", idempotency_key="order-4711")

    one, two, three = (request.headers["Idempotency-Key"] for request in api.asked)
    assert one != two
    assert three == "order-4711"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again_in_bounds_and_slower_each_time(api: Api, status: int) -> None:
    api.answers = [refused(status)]

    with pytest.raises(longtake.APIError) as raised:
        api.client(max_retries=6).get("job_vid_1")

    assert raised.value.status == status
    assert len(api.asked) == 7
    doubled = [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    for pause, most in zip(api.clock.pauses, doubled, strict=True):
        assert most / 2 <= pause <= most


def test_retry_after_is_waited_for(api: Api) -> None:
    api.answers = [refused(429, Retry_After="17"), told(job())]

    api.client().get("job_vid_1")

    (pause,) = api.clock.pauses
    assert 17 <= pause <= 17 * 1.1


def test_a_retry_after_of_hours_is_the_callers_to_wait_for(api: Api) -> None:
    api.answers = [refused(429, "per_day_limit", Retry_After="7200")]

    with pytest.raises(longtake.RateLimited) as raised:
        api.client().submit("a fox")

    assert raised.value.retry_after == 7200
    assert len(api.asked) == 1


def test_a_retry_after_may_be_a_date(api: Api) -> None:
    api.answers = [refused(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), told(job())]

    api.client().get("job_vid_1")

    assert api.clock.pauses == [0.0]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, longtake.InvalidRequest),
        (401, longtake.Unauthorized),
        (402, longtake.PaymentRequired),
        (404, longtake.NotFound),
        (409, longtake.Conflict),
        (413, longtake.InvalidRequest),
        (422, longtake.InvalidRequest),
        (500, longtake.APIError),
        (307, longtake.APIError),
    ],
)
def test_a_refusal_is_raised_at_once_with_all_that_it_says(
    api: Api, status: int, kind: type[longtake.APIError]
) -> None:
    api.answers = [refused(status, "a_code")]

    with pytest.raises(longtake.APIError) as raised:
        api.client().submit("a fox")

    error = raised.value
    assert type(error) is kind
    assert (error.status, error.type, error.code) == (status, "some_type", "a_code")
    assert (error.param, error.request_id) == ("p", "r")
    assert "a_code" in str(error)
    assert len(api.asked) == 1


def test_a_model_without_credentials_is_not_asked_for_again(api: Api) -> None:
    error = {"type": "model_unavailable", "code": "no_credentials", "message": "set LUMA_KEY"}
    api.answers = [told({"error": error}, 503)]

    with pytest.raises(longtake.Unavailable, match="set LUMA_KEY"):
        api.client().submit("a fox")

    assert len(api.asked) == 1


def test_a_batch_says_which_lines_are_invalid(api: Api) -> None:
    lines = [{"line": 3, "custom_id": "c", "param": "model", "code": "x", "message": "no model"}]
    error = {"type": "invalid_request", "code": "invalid_lines", "message": "1 line is invalid"}
    api.answers = [told({"error": {**error, "errors": lines, "error_count": 1200}}, 400)]

    with pytest.raises(longtake.InvalidRequest) as raised:
        api.client().batch([{"prompt": "a fox"}])

    assert raised.value.error_count == 1200
    (line,) = raised.value.errors
    assert (line.line, line.custom_id, line.param, line.message) == (3, "c", "model", "no model")


@pytest.mark.parametrize(
    "content", [b"<html>Bad Gateway</html>", b"", b"[]", b'{"error": 7}', b'{"error":{"errors":3}}']
)
def test_a_page_of_a_proxy_is_an_error_too(api: Api, content: bytes) -> None:
    api.answers = [httpx.Response(502, content=content)]

    with pytest.raises(longtake.Unavailable, match="502"):
        api.client(max_retries=0).get("job_vid_1")


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"id": "a"}',
        b'{"id":"a","status":"b","created_at":5}',
        b"[" * 9999,
    ],
)
def test_an_answer_that_is_none_of_ours_is_said_to_be(api: Api, content: bytes) -> None:
    api.answers = [httpx.Response(200, content=content)]

    with pytest.raises(longtake.UnreadableAnswer):
        api.client().get("job_vid_1")


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        (httpx.ConnectTimeout("late"), longtake.ConnectTimeout),
        (httpx.PoolTimeout("late"), longtake.ConnectTimeout),
        (httpx.ReadTimeout("silent"), longtake.ReadTimeout),
        (httpx.WriteTimeout("stuck"), longtake.ReadTimeout),
        (httpx.ConnectError("refused"), longtake.ConnectionFailed),
        (httpx.RemoteProtocolError("cut"), longtake.ConnectionFailed),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else type(each).__name__,
)
def test_timeouts_are_told_apart(
    api: Api, lost: httpx.TransportError, kind: type[Exception]
) -> None:
    api.answers = [lost]

    with pytest.raises(longtake.ConnectionFailed) as raised:
        api.client(max_retries=1).get("job_vid_1")

    assert type(raised.value) is kind
    assert len(api.asked) == 2


def test_each_timeout_is_the_one_that_was_asked_for(api: Api) -> None:
    api.answers = [told(job())]

    api.client(connect_timeout=3, read_timeout=11).get("job_vid_1")

    (request,) = api.asked
    timeout = request.extensions["timeout"]
    assert (timeout["connect"], timeout["read"]) == (3, 11)


def test_what_is_not_named_is_in_raw(api: Api) -> None:
    api.answers = [told(job(created_at="2026-11-22T01:02:03Z", brand_new={"x": 1}, model=None))]

    got = api.client().get("job_vid_1")

    assert got.created_at.isoformat() == "2026-11-22T01:02:03+00:00"
    assert got.raw["brand_new"] == {"x": 1}
    assert got.model is None
    assert not got.is_final


def test_an_id_stays_in_its_place_of_the_path(api: Api) -> None:
    api.answers = [refused(404)]

    with pytest.raises(longtake.NotFound):
        api.client().get("../../v1/usage?x=1")

    assert api.asked[0].url.raw_path == b"/v1/video/generations/..%2F..%2Fv1%2Fusage%3Fx%3D1"


def test_a_list_is_read_page_by_page(api: Api) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        after = request.url.params.get("after")
        ids = {None: ["a", "b"], "b": ["c"]}[after]
        data = [job() | {"id": name} for name in ids]
        following = "b" if after is None else None
        return httpx.Response(
            200, json={"data": data, "has_more": following is not None, "next": following}
        )

    api.answers = [page]

    assert [each.id for each in api.client().list(status="failed")] == ["a", "b", "c"]
    assert [dict(request.url.params) for request in api.asked] == [
        {"status": "failed"},
        {"status": "failed", "after": "b"},
    ]


def test_a_list_that_goes_in_a_ring_ends(api: Api) -> None:
    api.answers = [told({"data": [job()], "has_more": True, "next": "x"})]

    with pytest.raises(longtake.UnreadableAnswer):
        api.client().list()


def test_other_calls_go_where_they_should(api: Api) -> None:
    empty: dict[str, Any] = {"data": [], "has_more": False, "next": None}
    api.answers = [
        *(told(job("cancelled")), told(job(), 202), told({"id": "job_vid_1", "deleted": True})),
        *(told({"data": [{"id": "luma", "available": True}]}), told(empty)),
    ]
    client = api.client()

    assert client.cancel("job_vid_1").is_final
    client.retry("job_vid_1", idempotency_key="again")
    client.delete("job_vid_1")
    assert client.models()[0].available
    assert client.usage(group_by="day", metadata={"team": "a"}) == ()

    jobs = "/v1/video/generations/job_vid_1"
    assert [(request.method, request.url.path) for request in api.asked] == [
        ("POST", f"{jobs}/cancel"),
        ("POST", f"{jobs}/retry"),
        ("DELETE", jobs),
        ("GET", "/v1/models"),
        ("GET", "/v1/usage"),
    ]
    assert api.asked[1].headers["Idempotency-Key"] == "again"
    assert dict(api.asked[4].url.params) == {"group_by": "day", "metadata.team": "a"}


def test_no_secret_is_shown(api: Api) -> None:
    api.answers = [httpx.ConnectError("refused")]
    client = api.client(max_retries=0)

    with pytest.raises(longtake.ConnectionFailed) as raised:
        client.submit("a fox", webhook_secret="whsec_c2VjcmV0")

    shown = repr(client.client) + repr(vars(client.client)) + repr(raised.value)
    assert "api.test" in shown
    assert KEY not in shown
    assert "c2VjcmV0" not in shown


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("key", ["", "lt_ä", "lt_a\nX: y"])
def test_a_key_that_no_header_carries_is_refused_and_not_repeated(
    kind: type[Client], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LONGTAKE_API_KEY", raising=False)

    with pytest.raises(ValueError, match="api_key") as raised:
        kind(key)

    assert not key or key not in str(raised.value)


def test_the_environment_has_the_key_and_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_API_KEY", KEY)
    monkeypatch.setenv("LONGTAKE_API_URL", "https://videos.example.com")

    with Client() as client:
        assert "videos.example.com" in repr(client)

    with pytest.raises(ValueError, match="base_url"):
        Client(KEY, "videos.example.com")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("key", [f"{KEY} ", f" {KEY}", f"{KEY}\n", "lt_a b", "lt_\xe9", "lt_\t"])
def test_a_key_that_no_header_carries_is_refused_unseen(kind: Any, key: str) -> None:
    with pytest.raises(ValueError, match="ASCII without spaces") as raised:
        kind(key)

    assert key not in str(raised.value)


@pytest.mark.parametrize("name", ["idempotency_key", "app_id"])
@pytest.mark.parametrize("value", ["", " a", "a ", "a\n", "é", 0, 7, b"a"])
def test_what_no_header_carries_is_not_sent(api: Api, name: str, value: Any) -> None:
    api.answers = [CREATED]
    client = api.client()

    with pytest.raises(ValueError, match=name):
        client.submit("a fox", **{name: value})
    with pytest.raises(ValueError, match=name):
        client.batch([{"prompt": "a fox"}], **{name: value})

    assert api.asked == []


def test_a_header_that_http_refuses_is_not_quoted(api: Api) -> None:
    api.answers = [httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY} '")]

    with pytest.raises(longtake.LongtakeError) as raised:
        api.client().submit("a fox")

    assert KEY not in str(raised.value)
    assert raised.value.__suppress_context__
    assert len(api.asked) == 1
