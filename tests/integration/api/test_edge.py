"""The edge: a request id on every answer, every error in one shape, nothing inner told."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from api import front
from api.auth import Keyring
from models.database import Database
from models.keys import Key
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


async def test_the_callers_request_id_comes_back_on_every_answer(api: Api) -> None:
    for method, path, status in (
        ("GET", PATH, 200),
        ("POST", PATH, 400),
        ("GET", "/nowhere", 404),
        ("DELETE", PATH, 405),
        ("GET", "/healthz", 200),
    ):
        mine = await api.http.request(method, path, headers={"X-Request-ID": "trace/1:a-b_c"})
        ours = await api.http.request(method, path, headers={"X-Request-ID": "not an id"})

        assert mine.status_code == ours.status_code == status
        assert mine.headers["X-Request-ID"] == "trace/1:a-b_c"
        assert ours.headers["X-Request-ID"].startswith("req_")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (PATH, {"GET", "HEAD", "POST"}),
        ("/v2/video/generations", {"GET", "HEAD", "POST"}),
        ("/v1/videos", {"GET", "HEAD", "POST"}),
        ("/v1/videos/video_x", {"GET", "HEAD", "DELETE"}),
        ("/v1/gates/g", {"GET", "HEAD", "PUT", "DELETE"}),
        ("/layer/v3/video", {"POST"}),
    ],
)
async def test_a_405_names_every_method_of_the_path(api: Api, path: str, methods: set[str]) -> None:
    answer = await api.http.patch(path)

    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == methods


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/video/generations/", 404, "not_found"),
        ("GET", "/v1/video/generations/a/b/c", 404, "not_found"),
        ("GET", "/%00%ff", 404, "not_found"),
        ("PUT", PATH, 405, "method_not_allowed"),
        ("PATCH", "/healthz", 405, "method_not_allowed"),
        ("BREW", PATH, 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_offered_is_told_in_our_shape(
    api: Api, method: str, path: str, status: int, kind: str
) -> None:
    answer = await api.http.request(method, path)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["type"] == kind
    assert error.keys() == {"type", "code", "message", "param", "request_id"}
    if status == 405:
        assert answer.headers["Allow"]


async def test_an_error_that_nobody_expected_is_500_and_tells_nothing(
    api: Api, logs: list[Any]
) -> None:
    async def fail(request: Request) -> None:
        msg = "postgresql://user:password@host is inner knowledge"
        raise RuntimeError(msg)

    api.app.add_api_route("/fail/{secret}", fail)

    answer = await api.http.get("/fail/me?key=lt_secret", headers={"X-Request-ID": "r-1"})

    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "internal_error"
    assert answer.json()["error"]["request_id"] == answer.headers["X-Request-ID"] == "r-1"
    assert "password" not in answer.text
    failed = next(line for line in logs if line["event"] == "request.failed")
    assert failed["log_level"] == "error"
    assert failed["exc_info"]


async def test_a_request_is_one_line_without_its_query_body_or_key(
    api: Api, logs: list[Any]
) -> None:
    job = await api.submit(prompt="a prompt that is private")
    await api.http.get(f"{PATH}/{job['id']}/content?signature=private&expires=1")
    await api.http.get(f"{PATH}?app_id=private")

    lines = [line for line in logs if line["event"] == "http.request"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", PATH, 202),
        ("GET", PATH + "/{job_id}/content", 404),
        ("GET", PATH, 200),
    ]
    assert all(line["ms"] > 0 for line in lines)
    assert "private" not in str(logs)
    assert api.key not in str(logs)


async def test_a_slow_key_leaves_a_request_less_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, own = [1000.0], api.front.keyring

    class Slow(Keyring):
        async def identify(self, authorization: str | None) -> Key:
            now[0] += front.ANSWERS_WITHIN
            return await own.identify(authorization)

    monkeypatch.setattr(front, "_now", lambda: now[0])
    api.front.keyring = Slow(api.front.engine.database)

    answer = await api.http.post(PATH, json={"prompt": "a"})

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "database_away"
    assert (await api.counts())["job"] == 0


async def test_a_database_that_is_away_is_503_with_retry_after(api: Api) -> None:
    away = Database("postgresql://127.0.0.1:9/none", timeout=0.1)
    own = api.front.engine.database
    api.front.engine = replace(api.front.engine, database=away)
    api.front.keyring = Keyring(away)

    for answer in (
        await api.http.post(PATH, json={"prompt": "a"}),
        await api.http.get("/readyz"),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "database_away"
        assert int(answer.headers["Retry-After"]) >= 1
    assert (await api.http.get("/healthz")).status_code == 200
    await away.close()
    api.front.engine = replace(api.front.engine, database=own)
