"""A body that is no request: every POST of every dialect answers 400 or 413 in its own shape."""

import json
from typing import Any

import pytest
from jsonschema import ValidationError
from starlette.responses import Response

from api.body import MAX_BODY
from api.dialects.open_call import OpenCall
from tests.integration.api.conftest import TABLES, Api
from tests.integration.api.shapes import Operation, operations

pytestmark = pytest.mark.anyio
_DEEP = b"[" * 100 + b"]" * 100
#: Bodies that are wrong whatever the operation.
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n\t ",
    "a form": b"prompt=a&model=b",
    "a piece": b'{"prompt": "a"',
    "an object and more": b'{"prompt": "a"} {}',
    "Latin-1": '{"prompt": "é"}'.encode("latin-1"),
    "UTF-16": '{"prompt": "a"}'.encode("utf-16"),
    "bytes": bytes(range(256)),
    "a key twice": b'{"prompt": "a", "prompt": "b"}',
    "NaN": b'{"prompt": "a", "x": NaN}',
    "infinity": b'{"prompt": "a", "x": 1e999}',
    "thousands of digits": b'{"prompt": "a", "x": ' + b"9" * 5_000 + b"}",
    "NUL": b'{"prompt": "a\\u0000"}',
    "half a surrogate": b'{"prompt": "\\ud800"}',
    "deep": b'{"prompt": "a", "x": ' + _DEEP + b"}",
    "very deep": b"[" * 100_000,
    "very deep objects": b'{"a":' * 100_000,
    "a deep prompt": b'{"prompt": ' + _DEEP + b"}",
    "null": b"null",
    "a number": b"7",
    "a string": b'"a fox"',
    "true": b"true",
    "a list": b'[{"prompt": "a"}]',
    "an empty object": b"{}",
    "too many bytes": b" " * (MAX_BODY + 1),
}
#: Values that no field takes.
WRONG: tuple[Any, ...] = ([[[{}]]], {"a": [{"b": [None]}]}, True, -1e308, [])


def _bodies(operation: Operation) -> dict[str, bytes]:
    """All of them, and those in which each documented field is deeply wrong."""
    schema = operation.told["requestBody"]["content"]["application/json"]["schema"]
    wrong = {
        f"every field is {value}": json.dumps(dict.fromkeys(schema["properties"], value)).encode()
        for value in WRONG
    }
    return BODIES | wrong


async def test_a_body_that_is_no_request_is_an_error_in_the_shape_of_its_dialect(
    api: Api, subtests: pytest.Subtests
) -> None:
    document = (await api.http.get("/openapi.json")).json()
    posts = [
        each
        for each in operations(document)
        if each.method == "POST" and "application/json" in each.told["requestBody"]["content"]
    ]
    assert len(posts) >= 5

    for operation in posts:
        for name, content in _bodies(operation).items():
            with subtests.test(msg=f"{operation}: {name}"):
                answer = await api.http.post(
                    operation.url, content=content, headers={"Content-Type": "application/json"}
                )
                assert answer.status_code in {400, 413}, answer.text
                operation.check(answer.status_code, answer.json())
    assert await api.counts() == dict.fromkeys(TABLES, 0)


#: Numbers that no floating-point number holds, and the smallest and largest ones.
NUMBERS = (10**400, -(10**400), 1.7e308, -1.7e308, 5e-324, 2**64)
#: What the operations need so that each field is read.
NEEDED: dict[str, dict[str, Any]] = {
    "/layer/v3/video": {"gateId": "first", "data": {"prompt": "a"}},
    "/imagineo/v1/videos/generate": {"image_url": "https://pictures.test/a.png"},
    "/lunos/v1/video/generations": {"model": "google/veo-3.0-generate-preview", "prompt": "a"},
}


async def test_a_number_of_any_size_is_an_error_or_taken_but_never_a_fault_of_ours(
    api: Api, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenCall, "answer", _accepted)  # a call of Layer's is not waited for
    gate = {"name": "first", "model": "runway-gen3"}
    assert (await api.http.post("/v1/gates", json=gate)).status_code == 201
    document = (await api.http.get("/openapi.json")).json()
    for operation in operations(document):
        content = operation.told.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        least = NEEDED.get(operation.path, {"prompt": "a"})
        for field in content["schema"]["properties"]:
            for number in NUMBERS:
                with subtests.test(msg=f"{operation}: {field} is {str(number)[:9]}"):
                    body = least | {field: number}
                    answer = await api.http.request(operation.method, operation.url, json=body)
                    assert answer.status_code in {200, 202, 400, 404, 503}, answer.text
    data = document["components"]["schemas"].get("LayerData", {}).get("properties", {})
    for field in {"duration", "fps", "seed", "numberOfVideos", *data}:
        for number in NUMBERS:
            with subtests.test(msg=f"Layer: data.{field} is {str(number)[:9]}"):
                body = {"gateId": "first", "data": {"prompt": "a", field: number}}
                answer = await api.http.post("/layer/v3/video", json=body)
                assert answer.status_code in {200, 400}, answer.text


async def _accepted(call: OpenCall) -> Response:
    return Response(call.job)


async def test_the_shapes_tell_one_dialects_errors_from_anothers(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    perf, aimlapi = (
        next(each for each in operations(document) if each.path == path)
        for path in ("/perf/v1/video/generations", "/v2/video/generations")
    )
    native = (await api.http.post("/v1/video/generations", content=b"")).json()
    of_perf = (await api.http.post(perf.url, content=b"")).json()

    perf.check(400, of_perf)
    for operation, foreign in ((perf, native), (aimlapi, native), (aimlapi, of_perf)):
        with pytest.raises(ValidationError):
            operation.check(400, foreign)
