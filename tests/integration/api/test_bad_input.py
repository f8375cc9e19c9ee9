"""What can't be carried out is refused in words, in one shape, and leaves no row."""

import json
from typing import Any

import pytest

from tests.integration.api.conftest import TABLES, Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"
EMPTY = dict.fromkeys(TABLES, 0)

#: Body, the field that is named, and words of the message.
WRONG_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "prompt is required"),
    ({"prompt": ""}, "prompt", "prompt is required"),
    ({"prompt": "   "}, "prompt", "prompt is required"),
    ({"prompt": None}, "prompt", "prompt"),
    ({"prompt": 7}, "prompt", "prompt"),
    ({"prompt": "x" * 20_001}, "prompt", "prompt"),
    ({"prompt": "x" * 1_001}, "prompt", "exceeds maximum of 1000 UTF-16 code units"),
    ({"prompt": "a\x00b"}, "", "NUL"),
    ({"prompt": "a", "negative_prompt": "\x00"}, "", "NUL"),
    ({"prompt": "a", "metadata": {"\x00": 1}}, "", "NUL"),
    ({"prompt": "a", "metadata": {"deep": ["\ud800"]}}, "", "surrogate"),
    ({"prompt": "a", "metadata": "text"}, "metadata", "metadata"),
    ({"prompt": "a", "model": "no-such-model"}, "model", "model must be one of"),
    ({"prompt": "a", "model": ""}, "model", "model"),
    (
        {"prompt": "a", "duration_seconds": 11},
        "duration_seconds",
        "duration_seconds exceeds maximum of 10 for runway-gen3 model",
    ),
    ({"prompt": "a", "duration_seconds": 0}, "duration_seconds", "duration_seconds"),
    ({"prompt": "a", "duration_seconds": "5"}, "duration_seconds", "duration_seconds"),
    ({"prompt": "a", "duration_seconds": 5.5}, "duration_seconds", "duration_seconds"),
    ({"prompt": "a", "duration_seconds": True}, "duration_seconds", "duration_seconds"),
    ({"prompt": "a", "duration_seconds": 10**300}, "duration_seconds", "duration_seconds"),
    (
        {"prompt": "a", "model": "veo-3", "duration_seconds": 5},
        "duration_seconds",
        "one of 4, 6, 8",
    ),
    ({"prompt": "a", "resolution": "8k"}, "resolution", "must be one of 720p"),
    ({"prompt": "a", "aspect_ratio": "2:1"}, "aspect_ratio", "must be one of 16:9, 9:16"),
    ({"prompt": "a", "size": "10x10"}, "size", "must be one of 1280x720"),
    ({"prompt": "a", "size": "1280x720", "resolution": "720p"}, "size", "can't be combined"),
    ({"prompt": "a", "seed": -1}, "seed", "seed"),
    ({"prompt": "a", "seed": "7"}, "seed", "seed"),
    ({"prompt": "a", "count": 11}, "count", "count"),
    ({"prompt": "a", "cfg_scale": 7}, "cfg_scale", "cfg_scale"),
    ({"prompt": "a", "image": "ftp://example.com/a.png"}, "image", "must be an http(s) URL"),
    ({"prompt": "a", "model": "gen4_turbo"}, "image", "image is required"),
    ({"prompt": "a", "colour": "red"}, "colour", "colour is not a known field"),
    ({"prompt": "a", "gate": 7}, "gate", "gate should be a valid string"),
    ({"prompt": "a", "gate": ""}, "gate", "gate value should have at least 1 item"),
    ({"prompt": "a", "image": {"job_id": "job_x"}}, "image", "image refers to the job 'job_x'"),
    (
        {
            "prompt": "a",
            "reference_images": [{"image": "https://example.com/a.png", "type": "mood"}],
        },
        "reference_images[0].type",
        "should be 'subject', 'style' or 'asset' (it is 'mood')",
    ),
    (
        {"prompt": "a", "reference_images": [{"image": {"image": "https://example.com/a.png"}}]},
        "reference_images[0].image.job_id",
        "reference_images[0].image.job_id is required",
    ),
    ({"prompt": "a", "priority": "urgent"}, "priority", "priority"),
    ({"prompt": "a", "run_at": "tomorrow"}, "run_at", "run_at"),
    ({"prompt": "a", "run_at": "2027-01-31T12:00:00"}, "run_at", "needs an offset"),
    ({"prompt": "a", "max_cost_usd": 0.01}, "max_cost_usd", "must be at least 0.6"),
    ({"prompt": "a", "webhook_secret": "s" * 24}, "webhook_secret", "needs webhook_url"),
    ({"prompt": "a", "webhook_url": "gopher://example.com"}, "webhook_url", "webhook_url"),
    (
        {"prompt": "a", "webhook_url": "http://127.0.0.1/hook"},
        "webhook_url",
        "not a public address",
    ),
    ({"prompt": "a", "webhook_url": "http://[::1]/hook"}, "webhook_url", "not a public address"),
    ({"prompt": "a", "webhook_url": "http://10.1.2.3/hook"}, "webhook_url", "not a public address"),
    (
        {"prompt": "a", "webhook_url": "http://169.254.169.254/"},
        "webhook_url",
        "not a public address",
    ),
    ({"prompt": "a", "webhook_url": "http://2130706433/"}, "webhook_url", "not a public address"),
    ({"prompt": "a", "webhook_url": "http://localhost/"}, "webhook_url", "not a public address"),
    ({"prompt": "a", "webhook_url": "http://[::ffff:10.0.0.1]/"}, "webhook_url", "not a public"),
    ({"prompt": "a", "webhook_url": "https://a.test/\x00"}, "", "NUL"),
    ({"prompt": "a", "webhook_url": "https://a.test:99999/"}, "webhook_url", "port from 1 to"),
    ({"prompt": "a", "webhook_url": "https://a.test:abc/"}, "webhook_url", "port from 1 to"),
    ({"prompt": "a", "webhook_url": "https://a.test/ x"}, "webhook_url", "spaces"),
    ({"prompt": "a", "webhook_url": "https://a.test/\r\nX: 1"}, "webhook_url", "control"),
    ({"prompt": "a", "webhook_url": f"https://{'a' * 64}.test/"}, "webhook_url", "1 to 63"),
    ({"prompt": "a", "webhook_url": "https:"}, "webhook_url", "with a host"),
    ({"prompt": "a", "cfg_scale": 10**400}, "cfg_scale", "must be a number of at most"),
    ({"prompt": "a", "max_cost_usd": 10**400}, "max_cost_usd", "must be a number of at most"),
    ({"prompt": "a", "seed": 10**400}, "seed", "seed"),
    ({"prompt": "a", "image": "data:image/png;base64,!!!!"}, "image", "content is base64"),
    ({"prompt": "a", "image": "data:image/svg+xml;base64,AAAA"}, "image", "one of the types"),
    ({"prompt": "a", "image": "data:image/png;base64,aGVsbG8="}, "image", "is a picture"),
    ({"prompt": "a", "image": "data:text/html;base64,aGVsbG8="}, "image", "http(s) URL"),
    ({"prompt": "a", "run_at": "8999-01-01T00:00:00Z"}, "run_at", "at most 30 days ahead"),
    *(
        ({"prompt": "a", "model": "gen4.5", "image": f"http://{host}/a.png"}, "image", "is refused")
        for host in (
            *("127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0", "2130706433"),
            *("[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"),
            *("localhost", "a.localhost", "0x7f.1", "127.1"),
        )
    ),
]


async def test_a_wrong_field_is_named_and_nothing_is_written(
    api: Api, subtests: pytest.Subtests
) -> None:
    for body, param, words in WRONG_FIELDS:
        with subtests.test(msg=str(body)[:60]):
            answer = await api.http.post(PATH, content=json.dumps(body))

            error = answer.json()["error"]
            assert answer.status_code == 400, answer.text
            assert error["type"] == "invalid_request"
            assert error["param"] == (param or None)
            assert words in error["message"]
            assert error["request_id"] == answer.headers["X-Request-ID"]
    assert await api.counts() == EMPTY
    assert api.hints.sent == []


@pytest.mark.parametrize(
    "body", [b"", b"prompt=a", b"[]", b'{"a":' * 100_000, b'{"prompt": "a", "prompt": "b"}']
)
async def test_a_body_that_is_no_json_object_is_400(api: Api, body: bytes) -> None:
    answer = await api.http.post(PATH, content=body)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"].startswith("the request body")
    assert await api.counts() == EMPTY


async def test_a_model_without_credentials_says_which_variable_to_set(api: Api) -> None:
    answer = await api.http.post(PATH, json={"prompt": "a", "model": "ray-3.2"})

    error = answer.json()["error"]
    assert answer.status_code == 503
    assert error["type"] == "model_unavailable"
    assert "LUMA_AGENTS_API_KEY" in error["message"]
    assert await api.counts() == EMPTY


@pytest.mark.parametrize(
    ("headers", "param"),
    [
        ([("Idempotency-Key", "")], "Idempotency-Key"),
        ([("Idempotency-Key", "x" * 256)], "Idempotency-Key"),
        ([("Idempotency-Key", "a\tb")], "Idempotency-Key"),
        ([("Idempotency-Key", "a"), ("Idempotency-Key", "b")], "Idempotency-Key"),
        ([("X-App-ID", "")], "X-App-ID"),
        ([("X-App-ID", "x" * 256)], "X-App-ID"),
    ],
    ids=["empty key", "long key", "tab in key", "two keys", "empty app", "long app"],
)
async def test_a_wrong_header_is_named(
    api: Api, headers: list[tuple[str, str]], param: str
) -> None:
    key = ("Authorization", f"Bearer {api.key}")
    answer = await api.http.post(PATH, json={"prompt": "a"}, headers=[*headers, key])

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert await api.counts() == EMPTY


async def test_a_body_above_the_cap_is_413_by_its_length_or_by_its_bytes(api: Api) -> None:
    async def pieces() -> Any:
        for _ in range(50):
            yield b" " * 2**20

    for content in (b" " * (50 * 2**20), pieces()):
        answer = await api.http.post(PATH, content=content)

        assert answer.status_code == 413
        assert answer.json()["error"]["type"] == "payload_too_large"
        assert "25 MB" in answer.json()["error"]["message"]
        assert answer.headers["Connection"] == "close"
    assert await api.counts() == EMPTY


async def test_a_body_just_under_the_cap_is_read(api: Api) -> None:
    padded = json.dumps({"prompt": "a"}).encode().ljust(25 * 2**20)

    answer = await api.http.post(PATH, content=padded)

    assert answer.status_code == 202


async def test_an_empty_query_value_is_refused_by_name(api: Api, subtests: pytest.Subtests) -> None:
    document = (await api.http.get("/openapi.json")).json()
    asked = 0
    for path, operations in document["paths"].items():
        parameters = operations.get("get", {}).get("parameters", [])
        for name in (each["name"] for each in parameters if each["in"] == "query"):
            # A thing that is not there is 404, also by the id in AI/ML API's query.
            if "{" in path or name in {"metadata.KEY", "generation_id"}:
                continue
            with subtests.test(msg=f"{path}?{name}="):
                asked += 1
                answer = await api.http.get(path, params={name: ""})

                assert answer.status_code in {400, 401}, answer.text
                if answer.status_code == 400:
                    assert name in answer.text
    assert asked > 15


async def test_an_unknown_query_parameter_of_a_list_is_refused_with_those_that_are_known(
    api: Api,
) -> None:
    for path, known in ((PATH, "status"), ("/v1/gates", "limit"), ("/v1/usage", "group_by")):
        answer = await api.http.get(path, params={"stauts": "failed"})

        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "stauts")
        assert known in error["message"]
