"""Imagineo's dialect: its document's fields, rule and defaults; keys, webhooks and browsers."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.body import MAX_BODY
from models.budgets import make_prepaid
from tests.conftest import Simulator
from tests.integration.api.conftest import Api, other_settings
from tests.integration.api.serving import serving
from tests.integration.api.stored import whole_scene
from tests.integration.engine.waiting import until
from webhooks.signing import secret_bytes

pytestmark = pytest.mark.anyio
PATH, NATIVE = "/imagineo/v1/videos/generate", "/v1/video/generations"
URL = "https://pictures.example.com/a.png"
ONE_PICTURE = "Either image_url or source_run_id must be provided, but not both."
HOOK = "https://203.0.114.1/hook"


async def generate(api: Api, **fields: Any) -> httpx.Response:
    return await api.http.post(PATH, json={"image_url": URL} | fields)


async def _row(api: Api) -> dict[str, Any]:
    (row,) = await api.fetch(
        "SELECT id, request, plan, scene, webhook FROM job ORDER BY id DESC LIMIT 1"
    )
    opened = {"scene": await whole_scene(api, row["scene"])}
    if row["webhook"]:
        opened["webhook"] = api.front.engine.vault.open_json(row["webhook"])
    return row | opened


async def test_a_run_begins_with_the_documents_defaults(api: Api) -> None:
    answer = await generate(api)
    run = answer.json()

    assert answer.status_code == 200
    assert run.keys() == {"run_id", "status", "progress", "input"}
    assert run["run_id"].startswith("run_")
    assert (run["status"], run["progress"]) == ("queued", 0)
    assert run["input"] == {
        "prompt": "Bring the picture to life with natural motion.",
        "aspect_ratio": "16:9",
        "duration": 3,
        "image_url": URL,
    }
    row = await _row(api)
    assert row["id"] == "job_vid_" + run["run_id"].removeprefix("run_")
    assert row["plan"]["model"] == "gen4.5"
    assert row["scene"]["image"] == URL
    assert api.hints.sent


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "a futuristic cityscape", "aspect_ratio": "16:9", "duration": 5},
        {"aspect_ratio": "1:1"},
        {"aspect_ratio": "9:16", "duration": 2.5},
        {"negative_prompt": "rain", "seed": 42, "cfg_scale": 7.5},
        {"cfg_scale": 1e9, "seed": -1.5},
        {"motion_bucket_id": 127, "fps": 24},
        {"motion_bucket_id": 1000.5, "fps": 24.0},
        {"webhook_url": HOOK, "webhook_secret": "a token of sixteen bytes"},
        {"prompt": None, "duration": None, "seed": None, "fps": None, "colour": "red"},
        {"prompt": "", "negative_prompt": "", "source_run_id": ""},
        {"image_url": "data:image/png;base64,iVBORw0KGgo="},
    ],
)
async def test_every_value_of_the_document_is_taken(api: Api, fields: dict[str, Any]) -> None:
    answer = await generate(api, **fields)

    assert answer.status_code == 200, answer.text
    made = answer.json()["input"]
    plan = (await _row(api))["plan"]
    assert made["duration"] == plan["duration_seconds"]
    assert made["aspect_ratio"] == plan["aspect_ratio"]
    assert "webhook_secret" not in answer.text
    assert "Longtake-Warning" not in answer.headers
    if fields.get("motion_bucket_id"):
        assert "motion_bucket_id" in answer.headers["Longtake-Adapted"]
        assert "fps" not in answer.headers["Longtake-Adapted"]
    if str(fields.get("image_url", "")).startswith("data:"):
        assert "image_url" not in made


@pytest.mark.parametrize(
    "pictures",
    [
        {},
        {"image_url": None},
        {"image_url": "", "source_run_id": ""},
        {"image_url": URL, "source_run_id": "run_0123456789abcdefghjkmnpqrs"},
    ],
)
async def test_neither_picture_or_both_is_the_documents_error(
    api: Api, pictures: dict[str, Any]
) -> None:
    answer = await api.http.post(PATH, json={"prompt": "a city", **pictures})

    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": "invalid_parameter", "message": ONE_PICTURE}}
    assert (await api.counts())["job"] == 0


@pytest.mark.parametrize(
    "picture", [{"image_url": URL}, {"source_run_id": "run_0123456789abcdefghjkmnpqrs"}]
)
async def test_a_model_that_takes_no_picture_is_not_paid_for(
    database_url: str, tmp_path: Path, picture: dict[str, str]
) -> None:
    only_perf = {"RUNWAYML_API_SECRET": "", "PERF_API_KEY": "pk_test_abcdefgh"}
    async with other_settings(database_url, tmp_path, **only_perf) as http:
        answer = await http.post(PATH, json={"prompt": "the boats sway", **picture})
        listed = (await http.get(NATIVE)).json()["data"]

    (field,) = picture
    assert answer.status_code == 400, answer.text
    message = answer.json()["error"]["message"]
    assert message.startswith(f"{field} is not supported by the perf/runway-gen3 model")
    assert listed == []


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        ({"image_url": "data:image/png;base64,iVBORw0KGgo="}, "it is a data URI"),
        ({"source_run_id": "run_0123456789abcdefghjkmnpqrs"}, "it is an earlier job's frame"),
    ],
)
async def test_a_gates_model_that_takes_links_alone_says_so(
    database_url: str, tmp_path: Path, picture: dict[str, str], why: str
) -> None:
    async with other_settings(database_url, tmp_path, LUMAAI_API_KEY="luma-for-tests") as http:
        gate = {"name": "imagineo", "model": "ray-2"}
        assert (await http.post("/v1/gates", json=gate)).status_code == 201
        answer = await http.post(PATH, json={"duration": 5, **picture})

    (field,) = picture
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"] == f"{field} must be a URL for ray-2 model ({why})"


async def test_a_setting_allows_text_to_video(database_url: str, tmp_path: Path) -> None:
    setting = {"LONGTAKE_IMAGINEO_TEXT_TO_VIDEO": "true"}
    example = {"prompt": "a futuristic cityscape", "aspect_ratio": "16:9", "duration": 5}
    async with other_settings(database_url, tmp_path, **setting) as http:
        taken = await http.post(PATH, json=example)
        without = await http.post(PATH, json={"duration": 5})
        both = await http.post(PATH, json={"image_url": URL, "source_run_id": "run_1"})

    assert taken.status_code == 200
    assert taken.json()["input"] == example
    assert without.status_code == both.status_code == 400
    assert both.json()["error"]["message"] == ONE_PICTURE
    assert without.json()["error"]["message"] == "prompt is required without a picture"


async def test_an_earlier_runs_frame_is_the_picture(api: Api) -> None:
    first = (await generate(api)).json()["run_id"]
    other = await api.new_key("other")
    refused = [
        await api.http.post(PATH, json={"source_run_id": source}, headers=headers)
        for source, headers in (
            (first, {}),  # it is not finished
            ("run_nope", {}),
            ("job_vid_1", {}),
            (first, {"Authorization": f"Bearer {other}"}),
        )
    ]
    await api.fetch(
        "UPDATE output SET state = 'stored', key = 'k', sha256 = repeat('0', 64), bytes = 1, "
        "content_type = 'video/mp4' RETURNING id"
    )
    taken = await api.http.post(PATH, json={"source_run_id": first})

    for answer in refused:
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_parameter"
        assert answer.json()["error"]["message"].startswith("source_run_id refers to the run")
        assert "job_vid" not in answer.json()["error"]["message"].replace("'job_vid_1'", "")
    assert taken.status_code == 200, taken.text
    assert taken.json()["input"]["source_run_id"] == first
    job = "job_vid_" + first.removeprefix("run_")
    assert (await _row(api))["scene"]["image"] == {"job_id": job}


async def test_the_gate_named_imagineo_chooses_the_model(api: Api) -> None:
    gate = {"name": "imagineo", "model": "gen4_turbo", "overrides": "none"}
    assert (await api.http.post("/v1/gates", json=gate)).status_code == 201

    answer = await generate(api, seed=3)

    assert answer.status_code == 200, answer.text
    row = await _row(api)
    assert row["plan"]["model"] == "gen4_turbo"
    assert answer.headers["Longtake-Adapted"] == "duration_seconds, aspect_ratio, seed"


@pytest.mark.parametrize(
    ("state", "status", "more"),
    [
        ("pending", "queued", set()),
        ("submitting", "processing", {"estimated_time"}),
        ("processing", "processing", {"estimated_time"}),
        ("storing", "processing", set()),
        ("complete", "completed", {"video_url"}),
        ("failed", "failed", {"error"}),
        ("cancelled", "failed", {"error"}),
    ],
)
async def test_each_state_has_its_word_and_fields(
    api: Api, state: str, status: str, more: set[str]
) -> None:
    run_id = (await generate(api)).json()["run_id"]
    await api.fetch("UPDATE job SET state = %s RETURNING id", state)

    answer = await api.http.get(f"/imagineo/v1/runs/{run_id}")

    assert answer.status_code == 200
    run = answer.json()
    assert run.keys() == {"run_id", "status", "progress", "input"} | more
    assert (run["run_id"], run["status"]) == (run_id, status)
    if "error" in run:
        assert run["error"].keys() == {"code", "message"}


async def test_unknown_foreign_and_deleted_runs_are_one_404(api: Api) -> None:
    foreign, deleted = [(await generate(api)).json()["run_id"] for _ in range(2)]
    await api.http.delete(f"{NATIVE}/job_vid_{deleted.removeprefix('run_')}")
    other = await api.new_key("other")

    for run, key in ((foreign, other), (deleted, api.key), ("run_x", api.key), ("%00", api.key)):
        headers = {"Authorization": f"Bearer {key}"}
        answer = await api.http.get(f"/imagineo/v1/runs/{run}", headers=headers)
        assert answer.status_code == 404
        assert answer.json() == {"error": {"code": "not_found", "message": "Run not found"}}


@pytest.mark.parametrize(
    ("secret", "key", "warning"),
    [
        ("sixteen bytes or more", b"sixteen bytes or more", None),
        ("8 bytes.", b"8 bytes.", "webhook_secret is shorter than 16 bytes, so it may be guessed"),
        ("whsec_not base64 at all", b"whsec_not base64 at all", None),
        ("whsec_bG9uZ3Rha2UtZXhhbXBsZS1zZWNyZXQ=", b"longtake-example-secret", None),
        ("whsec_aGVsbG8gdGhlcmU=", b"whsec_aGVsbG8gdGhlcmU=", None),  # too short for a key
    ],
)
async def test_any_secret_signs_and_a_short_one_is_warned_of(
    api: Api, secret: str, key: bytes, warning: str | None
) -> None:
    answer = await generate(api, webhook_url=HOOK, webhook_secret=secret)

    assert answer.status_code == 200, answer.text
    assert answer.headers.get("Longtake-Warning") == warning
    assert secret_bytes((await _row(api))["webhook"]["secret"]) == key


async def test_a_secret_without_a_url_is_not_used_and_an_empty_one_refused(api: Api) -> None:
    unused = await generate(api, webhook_secret="a token of sixteen bytes")
    empty = await generate(api, webhook_url=HOOK, webhook_secret="")

    short = await generate(api, webhook_url=HOOK, webhook_secret="7 bytes")

    assert short.status_code == 400
    assert "webhook_secret must be 8 to 512 bytes" in short.json()["error"]["message"]
    assert unused.status_code == 200
    message = "webhook_secret is not used without webhook_url"
    assert unused.headers["Longtake-Warning"] == message
    assert empty.status_code == 400
    assert empty.json()["error"]["message"].startswith("webhook_secret must not be empty")


async def test_the_event_carries_the_run_id(api: Api) -> None:
    run_id = (await generate(api, webhook_url=HOOK)).json()["run_id"]
    native = await api.submit(webhook_url=HOOK)
    job = "job_vid_" + run_id.removeprefix("run_")
    for each in (job, native["id"]):
        assert (await api.http.post(f"{NATIVE}/{each}/cancel")).status_code == 200

    rows = await api.fetch("SELECT job, body FROM delivery")
    events = {row["job"]: json.loads(api.front.engine.vault.open(row["body"])) for row in rows}
    assert events[job]["type"] == "video.cancelled"
    assert events[job]["data"]["run_id"] == run_id
    assert events[job]["data"]["id"] == job
    assert "run_id" not in events[native["id"]]["data"]
    retried = await api.http.post(f"{NATIVE}/{job}/retry")
    assert retried.status_code == 202, retried.text
    new = retried.json()["id"]
    rows = await api.fetch("SELECT webhook FROM job WHERE id = %s", new)
    run = {"run_id": "run_" + new.removeprefix("job_vid_")}
    assert api.front.engine.vault.open_json(rows[0]["webhook"])["fields"] == run


async def test_a_key_comes_in_either_header(api: Api) -> None:
    for headers, status in (
        ({"Authorization": "", "X-API-Key": api.key}, 200),
        ({"Authorization": api.key}, 200),
        ({"Authorization": f"Bearer {api.key}"}, 200),
        ({"Authorization": "", "X-API-Key": "lt_" + "x" * 32}, 401),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer nope", "X-API-Key": api.key}, 401),
    ):
        answer = await api.http.post(PATH, json={"image_url": URL}, headers=headers)
        assert answer.status_code == status, headers
        if status == 401:
            assert answer.json()["error"]["code"] == "unauthorized"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x" * 30_000}, "prompt"),
        ({"image_url": 7}, "image_url"),
        ({"image_url": "ftp://a"}, "image_url"),
        ({"duration": 0}, "duration"),
        ({"duration": "5"}, "duration"),
        ({"duration": 600}, "duration exceeds maximum of 10"),
        ({"aspect_ratio": "wide"}, "aspect_ratio"),
        ({"aspect_ratio": 1.5}, "aspect_ratio"),
        ({"seed": "x"}, "seed"),
        ({"fps": -1}, "fps"),
        ({"cfg_scale": True}, "cfg_scale"),
        ({"motion_bucket_id": []}, "motion_bucket_id"),
        ({"webhook_url": "nowhere"}, "webhook_url"),
        ({"webhook_url": "http://127.0.0.1/"}, "webhook_url"),
        ({"webhook_url": HOOK, "webhook_secret": 7}, "webhook_secret"),
    ],
)
async def test_a_wrong_value_is_named(api: Api, fields: dict[str, Any], field: str) -> None:
    answer = await generate(api, **fields)

    assert answer.status_code == 400, answer.text
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"]["code"] == "invalid_parameter"
    assert answer.json()["error"]["message"].startswith(field)
    assert (await api.counts())["job"] == 0


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"prompt": "a", "prompt": "b"}'),
        *(b"[" * 100_000, b'{"x": ' * 100 + b"1" + b"}" * 100, b" " * (MAX_BODY + 1)),
    ],
    ids=range(9),
)
async def test_a_body_that_is_no_request_is_a_400(api: Api, content: bytes) -> None:
    answer = await api.http.post(PATH, content=content)

    assert answer.status_code == 400
    assert answer.json()["error"].keys() == {"code", "message"}
    assert answer.json()["error"]["code"] == "invalid_parameter"


async def test_other_errors_have_imagineos_shape(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    await api.http.post(PATH, json={"image_url": URL}, headers=headers)
    answers = [
        (await api.http.get("/imagineo/v1/models"), 404, "not_found"),
        (await api.http.get(PATH), 405, "method_not_allowed"),
        (
            await api.http.post(PATH, json={"image_url": URL, "seed": 1}, headers=headers),
            *(422, "idempotency_mismatch"),
        ),
    ]
    await api.front.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    answers.append((await generate(api), 402, "insufficient_balance"))

    for answer, status, code in answers:
        assert answer.status_code == status
        assert answer.json()["error"].keys() == {"code", "message"}
        assert answer.json()["error"]["code"] == code


async def test_a_run_from_a_run_completes(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    async with (
        serving(database_url, tmp_path, simulator.env) as longtake,
        httpx.AsyncClient(
            base_url=longtake.url, headers={"X-API-Key": longtake.key}, trust_env=False, timeout=60
        ) as http,
    ):
        picture = {"image_url": "https://pictures.example/a.png", "prompt": "a red kite"}
        first = (await http.post(PATH, json=picture)).json()["run_id"]
        await _completed(http, first)
        second = (await http.post(PATH, json={"source_run_id": first})).json()["run_id"]
        done = await _completed(http, second)
        video = await http.get(done["video_url"])

    assert (video.status_code, video.headers["Content-Type"]) == (200, "video/mp4")
    sent = [json.dumps(row["body"]) for row in simulator.bill()]
    assert len(sent) == 2
    assert "https://pictures.example/a.png" in sent[0]
    assert "data:image/jpeg" in sent[1]


async def _completed(http: httpx.AsyncClient, run: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    async def is_final() -> bool:
        shown.update((await http.get(f"/imagineo/v1/runs/{run}")).json())
        return shown["status"] in {"completed", "failed"}

    await until(is_final, within=180)
    assert shown["status"] == "completed", shown.get("error")
    return shown
