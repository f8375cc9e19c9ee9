"""/openapi.json is true: what it says is what the routes take and answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from api.dialects import DIALECTS
from models.keys import create_key
from models.request import VideoRequest
from models.scene import KNOBS
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"


async def _document(api: Api) -> dict[str, Any]:
    answer = await api.http.get("/openapi.json", headers={"Authorization": ""})
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


async def _ops(api: Api, name: str) -> Any:
    """What an admin sees."""
    _, plain = await api.front.engine.database.run(
        lambda connection: create_key(connection, "ops", is_admin=True)
    )
    return (
        await api.http.get(f"/v1/ops/{name}", headers={"Authorization": f"Bearer {plain}"})
    ).json()


def _validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema, format_checker=FormatChecker())


def _undocumented(document: dict[str, Any], value: Any, schema: dict[str, Any]) -> list[str]:
    """Fields of an answer that its schema does not have."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if options := schema.get("anyOf"):
        each = [_undocumented(document, value, option) for option in options]
        return min(each, key=len)
    if isinstance(value, list):
        items = schema.get("items", {})
        return [name for one in value for name in _undocumented(document, one, items)]
    if not isinstance(value, dict) or schema.get("additionalProperties"):
        return []
    known = schema.get("properties", {})
    inner = [
        name
        for key in value.keys() & known
        for name in _undocumented(document, value[key], known[key])
    ]
    return [*(value.keys() - known.keys()), *inner]


async def test_every_answer_has_the_shape_that_is_documented(api: Api) -> None:
    document = await _document(api)
    full = await api.submit(
        seed=7,
        negative_prompt="rain",
        metadata={"a": 1},
        count=2,
        fps=24,
        priority="high",
        run_at=(datetime.now(UTC) + timedelta(days=29)).isoformat(),
        unsupported="ignore",
        webhook_url="https://203.0.114.1/hook",
    )
    cancelled = (await api.http.post(f"{PATH}/{full['id']}/cancel")).json()
    running = await api.submit(model="veo-3", audio=False)
    await api.fetch(
        "UPDATE job SET state = 'processing', accepted_at = now() WHERE finished_at IS NULL"
    )
    retried = (await api.http.post(f"{PATH}/{cancelled['id']}/retry")).json()
    deliveries = (await api.http.get("/v1/webhooks/deliveries")).json()

    for name, value in (
        ("Job", full),
        ("Job", cancelled),
        ("Job", retried),
        ("DeletedJob", (await api.http.delete(f"{PATH}/{retried['id']}")).json()),
        ("Job", (await api.http.get(f"{PATH}/{running['id']}")).json()),
        ("JobList", (await api.http.get(PATH)).json()),
        ("ModelList", (await api.http.get("/v1/models")).json()),
        ("DeliveryList", deliveries),
        ("UsageList", (await api.http.get("/v1/usage?group_by=app_id")).json()),
        ("LaneList", await _ops(api, "lanes")),
        ("AccountList", await _ops(api, "providers")),
        ("ErrorAnswer", (await api.http.get(f"{PATH}/nope")).json()),
        ("Health", (await api.http.get("/readyz")).json()),
    ):
        _validator(document, name).validate(value)
        reference = {"$ref": f"#/components/schemas/{name}"}
        assert not _undocumented(document, value, reference), name
    assert deliveries["data"]


async def test_every_parameter_of_a_request_is_in_the_jobs_view_as_it_was_asked(api: Api) -> None:
    asked = {
        "seed": 7,
        "negative_prompt": "rain",
        "cfg_scale": 0.5,
        "motion_bucket_id": 9,
        "person_generation": "allow_adult",
        "watermark": False,
        "audio": True,
    }
    job = await api.submit(**asked, unsupported="ignore")

    assert {name: job[name] for name in asked} == asked
    assert asked.keys() == set(KNOBS)  # a new parameter belongs into this test


async def test_the_examples_are_requests_that_are_accepted(api: Api) -> None:
    document = await _document(api)
    content = document["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]

    for example in content["examples"].values():
        _validator(document, "VideoRequest").validate(example["value"])
        VideoRequest.from_json(example["value"])
        await api.submit(**example["value"])


async def test_the_forms_of_a_reference_picture_are_documented(api: Api) -> None:
    validator = _validator(await _document(api), "VideoRequest")
    link, frame = "https://example.com/a.png", {"job_id": "j1"}
    good = (link, frame, {"image": link}, {"image": frame, "type": "style"})
    for element in (*good, 3, {}, {"type": "style"}, {"image": link, "type": "mood"}):
        request = {"prompt": "a", "reference_images": [element]}
        assert validator.is_valid(request) == (element in good), element


async def test_every_operation_tells_its_key_its_errors_and_never_the_frameworks_422(
    api: Api,
) -> None:
    document = await _document(api)

    assert "HTTPValidationError" not in str(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            if path in {"/healthz", "/readyz"}:
                continue
            assert {"key": []} in operation["security"], path
            tag = _dialect_tag(path, operation)
            unavailable, never = ("500", "503") if tag == "Lunos" else ("503", None)
            assert {"401", unavailable} <= responses.keys() - {never}, path
            assert never not in responses, path
            takes_key = (path, method) in {
                *((PATH, "post"), (f"{PATH}/{{job_id}}/retry", "post")),
                *(("/v1/batches", "post"), ("/v1/batches/{batch_id}/retry", "post")),
            }
            assert ("422" in responses) == (method == "post" if tag else takes_key)
            error = f"{tag}Error" if tag else "ErrorAnswer"
            for status, response in responses.items():
                if int(status) >= 400:
                    schema = response["content"]["application/json"]["schema"]
                    assert schema.keys() == {"$ref"}
                    assert schema["$ref"].rpartition("/")[2].casefold() == error.casefold()


def _dialect_tag(path: str, operation: dict[str, Any]) -> str | None:
    """The letters of the tag of a dialect's operation, which its error's schema is named for."""
    prefixes = [prefix for each in DIALECTS for prefix in each.prefixes]
    if not any(f"{path}/".startswith(f"{prefix}/") for prefix in prefixes):
        return None
    (tag,) = operation["tags"]
    return "".join(filter(str.isalnum, tag))


async def test_a_webhooks_url_and_secret_are_documented_with_format_and_limits(api: Api) -> None:
    schemas = (await _document(api))["components"]["schemas"]

    for name in ("VideoRequest", "BatchOptions"):
        url = schemas[name]["properties"]["webhook_url"]
        given = next(each for each in url["anyOf"] if each["type"] == "string")
        assert (given["format"], given["maxLength"]) == ("uri", 2_048)
        assert "http:// or https://, a public host, no credentials" in url["description"]
        assert "8 to 512 bytes" in schemas[name]["properties"]["webhook_secret"]["description"]


async def test_every_route_that_takes_a_key_says_what_becomes_of_a_reused_one(api: Api) -> None:
    found = 0
    for path, operations in (await _document(api))["paths"].items():
        for operation in operations.values():
            names = [each["name"] for each in operation.get("parameters", [])]
            assert names.count("Idempotency-Key") == ("422" in operation["responses"]), path
            if "Idempotency-Key" in names:
                found += 1
                assert "Idempotency-Key" in operation["responses"]["422"]["description"]
    assert found >= 12


async def test_references_all_lead_somewhere(api: Api) -> None:
    document = await _document(api)
    schemas = document["components"]["schemas"]

    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [each for one in value for each in references(one)]
        if not isinstance(value, dict):
            return []
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for one in value.values() for each in references(one)]

    found = references(document)
    assert found
    assert {
        reference.removeprefix("#/components/schemas/") for reference in found
    } <= schemas.keys()


async def test_the_document_is_encoded_once_and_not_sent_to_who_has_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await api.http.get("/openapi.json")
    monkeypatch.setattr(api.app, "openapi", lambda: pytest.fail("it was made again"))
    again = await api.http.get("/openapi.json")
    tag = first.headers["ETag"]
    same = await api.http.get("/openapi.json", headers={"If-None-Match": f'"other", {tag}'})
    other = await api.http.get("/openapi.json", headers={"If-None-Match": '"other"'})

    assert again.content == first.content
    assert again.headers["ETag"] == tag
    assert first.headers["Content-Type"] == "application/json"
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert (other.status_code, other.content) == (200, first.content)
