"""Large bodies over the API: which routes take them, what each field may have, what is left."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from api import places
from api.body import MAX_BODY
from api.callbacks import ANY_SIZE
from api.large_bodies import LARGE, MOST_HERE_OF_TENANT
from models.batch import MAX_BATCH_BYTES
from models.links import MAX_LINK
from models.scene import MAX_DATA_URI, MAX_METADATA
from models.strict_json import MAX_ESCAPES, MAX_VALUES
from tests.integration.api.conftest import TABLES, Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"
URI = "data:image/png;base64,iVBORw0KGgoA"
#: Every route that takes more than LARGE bytes.
LARGER: Mapping[str, float] = {
    PATH: MAX_BODY,
    "/v1/batches": MAX_BATCH_BYTES,
    "/callbacks/{provider}/{token}": ANY_SIZE,
    "/perf/v1/video/generations": MAX_BODY,
    "/lunos/v1/video/generations": MAX_BODY,
    "/layer/v3/video": MAX_BODY,
    "/imagineo/v1/videos/generate": MAX_BODY,
    **{
        prefix + path: MAX_BODY
        for prefix in ("", "/aimlapi")
        for path in ("/v2/video/generations", "/v2/generate/video/{vendor:path}/generation")
    },
    **{
        prefix + path: MAX_BODY
        for prefix in ("/v1/videos", "/openai/v1/videos")
        for path in ("", "/edits", "/extensions", "/characters", "/characters/{character_id}")
    },
    **{f"{prefix}/{{video_id}}/remix": MAX_BODY for prefix in ("/v1/videos", "/openai/v1/videos")},
}


def test_only_routes_that_submit_take_megabytes(api: Api) -> None:
    found = {
        str(route.path): size
        for route in iter_route_contexts(api.app.routes)
        if (size := getattr(route.endpoint, "takes_up_to", LARGE)) > LARGE
    }

    assert found == LARGER


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/gates"), ("PUT", "/v1/gates/x"), ("POST", f"{PATH}/x/cancel")],
)
async def test_other_routes_take_256_kb(api: Api, method: str, path: str) -> None:
    answer = await api.http.request(method, path, content=b" " * (LARGE + 1))
    error = answer.json()["error"]

    assert (answer.status_code, error["type"]) == (413, "payload_too_large")
    assert "256 kB" in error["message"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"metadata": {"a": "x" * MAX_METADATA}}, "metadata", "at most 16 kB as JSON, and has 16,392"),
    ({"image": URI + "A" * MAX_DATA_URI}, "image", "at most 20 MB as a data URI, and has 20,971,"),
    ({"image": "https://a.test/" + "a" * MAX_LINK}, "image", "at most 8,192 characters as a link"),
    ({"prompt": "x" * LARGE}, "prompt", "at most 20000 characters"),
]


async def test_a_field_that_is_too_large_is_named_with_its_size_and_limit(
    api: Api, subtests: pytest.Subtests
) -> None:
    for fields, param, words in WRONG:
        with subtests.test(msg=param):
            answer = await api.http.post(PATH, json={"prompt": "a"} | fields)
            error = answer.json()["error"]

            assert answer.status_code == 400, answer.text
            assert error["param"] == param
            assert words in error["message"]
            assert len(answer.content) < 1_000
    assert await api.counts() == dict.fromkeys(TABLES, 0)


async def test_a_dialect_tells_the_same_in_its_own_shape(api: Api) -> None:
    wanted = {"gateId": "none", "data": {"prompt": "a", "image": {"url": URI + "A" * MAX_DATA_URI}}}
    gate = {"name": "any", "model": "runway-gen3", "overrides": "all"}
    made = await api.http.post("/v1/gates", json=gate)
    assert made.status_code == 201, made.text
    answer = await api.http.post("/layer/v3/video", json=wanted | {"gateId": "any"})

    assert answer.status_code == 400
    assert answer.json()["error"] == "bad_request"
    assert "data.image must have at most 20 MB as a data URI" in answer.json()["message"]


async def test_many_small_values_are_refused_before_they_are_made(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.strict_json._DECODER", None)  # whatever parses fails
    values = b'{"metadata": {"x": [' + b"{}," * MAX_VALUES + b"0]}}"
    escapes = b'{"prompt": "' + b"\\n" * (MAX_ESCAPES + 1) + b'"}'

    for content, words in ((values, "100,000 values"), (escapes, "1,000,000 escaped")):
        answer = await api.http.post(PATH, content=content)

        assert answer.status_code == 400, answer.text
        assert words in answer.json()["error"]["message"]


async def test_without_a_place_a_dialect_says_when_to_come_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAITS", 0.01)
    waiting = api.front.large_bodies._here  # noqa: SLF001 - a stand-in for uploads that go on
    body = json.dumps({"prompt": "a", "x": "x" * LARGE})
    first, second = (waiting.taken(tenant="acme") for _ in range(MOST_HERE_OF_TENANT))
    async with first, second:
        answer = await api.http.post("/perf/v1/video/generations", content=body)

    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["Retry-After"] == "5"
    again = await api.http.post("/perf/v1/video/generations", content=body)
    assert again.status_code == 202, again.text


async def test_places_are_left_whatever_the_answer(api: Api) -> None:
    for _ in range(2 * MOST_HERE_OF_TENANT):
        refused = await api.http.post(PATH, json={"prompt": "x" * LARGE})
        assert refused.status_code == 400
    assert api.front.large_bodies._here._own.get("acme") is None  # noqa: SLF001 - nobody has one
