"""Both generations of Kling: words, codes, clients' own ids, and lists."""

import base64
import hashlib
import hmac
import json
from typing import Any, Protocol

import httpx
import pytest

from simulator.upstreams.kling.shared import ACCESS_KEY, SECRET_KEY

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer kling-test-key"}
PICTURE = "https://pictures.example/a.png"
TEXT, IMAGE = "/kling/text-to-video/kling-3.0", "/kling/image-to-video/kling-3.0"
LEGACY = "/kling/v1/videos/text2video"
LEGACY_BODY = {"model_name": "kling-v2-6", "prompt": "a cat"}
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def __call__(self) -> float: ...
    def advance(self, seconds: float) -> None: ...


async def post(client: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    return await client.post(path, json=body, headers=HEADERS)


async def get(client: httpx.AsyncClient, path: str) -> httpx.Response:
    return await client.get(path, headers=HEADERS)


async def submitted(client: httpx.AsyncClient, **body: object) -> str:
    answer = await post(client, TEXT, {"prompt": "a cat"} | body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["id"])


async def tasks(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await get(client, f"/kling/tasks?{query}")).json()["data"]
    return found


async def test_a_task_is_submitted_then_processed_then_succeeds_and_is_billed(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    task = await submitted(client, settings={"resolution": "1080p", "audio": "native"})
    assert [one["status"] for one in await tasks(client, f"task_ids={task}")] == ["submitted"]

    clock.advance(21)
    assert [one["status"] for one in await tasks(client, f"task_ids={task}")] == ["processing"]

    clock.advance(LONG_ENOUGH)
    (done,) = await tasks(client, f"task_ids={task}")
    assert done["status"] == "succeeded"
    assert [(one["type"], one["duration"]) for one in done["outputs"]] == [("video", "5")]
    assert done["billing"][0]["amount"] == "0.8400"
    assert (await client.get(done["outputs"][0]["url"])).status_code == 200


async def test_an_older_task_has_the_older_words(client: httpx.AsyncClient, clock: Clock) -> None:
    answer = await post(client, LEGACY, LEGACY_BODY | {"duration": "10"})
    task = answer.json()["data"]
    assert (answer.json()["code"], task["task_status"]) == (0, "submitted")

    clock.advance(21)
    url = f"{LEGACY}/{task['task_id']}"
    assert (await get(client, url)).json()["data"]["task_status"] == "processing"

    clock.advance(LONG_ENOUGH)
    done = (await get(client, url)).json()["data"]
    assert done["task_status"] == "succeed"
    assert [one["duration"] for one in done["task_result"]["videos"]] == ["10"]
    assert done["final_unit_deduction"] == "3"


@pytest.mark.parametrize(("script", "words"), [("fail", "Internal"), ("moderate", "risk control")])
async def test_a_failed_task_says_why_in_words(
    client: httpx.AsyncClient, clock: Clock, script: str, words: str
) -> None:
    prompt = f"[sim:{script}] a cat"
    new = await submitted(client, prompt=prompt)
    old = (await post(client, LEGACY, LEGACY_BODY | {"prompt": prompt})).json()["data"]["task_id"]
    clock.advance(LONG_ENOUGH)

    (failed,) = await tasks(client, f"task_ids={new}")
    older = (await get(client, f"{LEGACY}/{old}")).json()["data"]

    assert (failed["status"], older["task_status"]) == ("failed", "failed")
    assert words in failed["message"]
    assert words in older["task_status_msg"]


async def test_many_tasks_are_found_by_either_kind_of_id_and_the_rest_left_out(
    client: httpx.AsyncClient,
) -> None:
    first = await submitted(client, options={"external_task_id": "one"})
    second = await submitted(client, options={"external_task_id": "two"})

    by_id = await tasks(client, f"task_ids={second},nothing,{first}")
    by_name = await tasks(client, "external_task_ids=one,nothing")

    assert [one["id"] for one in by_id] == [second, first]
    assert [(one["id"], one["external_id"]) for one in by_name] == [(first, "one")]
    assert await tasks(client, "external_task_ids=nothing") == []
    for query in ("", f"task_ids={first}&external_task_ids=one"):
        answer = await get(client, f"/kling/tasks?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, 1200)


async def test_a_clients_own_id_is_taken_once_by_each_account(client: httpx.AsyncClient) -> None:
    named = {"prompt": "a cat", "options": {"external_task_id": "one"}}
    assert (await post(client, TEXT, named)).status_code == 200

    again = await post(client, TEXT, named)
    other = await client.post(TEXT, json=named, headers={"Authorization": "Bearer another-key"})

    assert (again.status_code, again.json()["code"]) == (400, 1201)
    assert other.status_code == 200
    assert len((await client.get("/_sim/bill")).json()["data"]) == 2


async def test_after_a_reset_an_id_may_be_used_again(client: httpx.AsyncClient) -> None:
    named = {"prompt": "a cat", "options": {"external_task_id": "one"}}
    await post(client, TEXT, named)
    await client.post("/_sim/reset")

    assert (await post(client, TEXT, named)).status_code == 200


async def test_an_older_task_is_found_by_its_clients_id_and_only_where_it_was_made(
    client: httpx.AsyncClient,
) -> None:
    body = LEGACY_BODY | {"external_task_id": "mine"}
    task = (await post(client, LEGACY, body)).json()["data"]["task_id"]

    found = (await get(client, f"{LEGACY}/mine")).json()["data"]
    elsewhere = await get(client, f"/kling/v1/videos/image2video/{task}")

    assert (found["task_id"], found["task_info"]) == (task, {"external_task_id": "mine"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, 1203)
    assert (await post(client, LEGACY, body)).json()["code"] == 1201


async def test_both_generations_list_their_own_tasks_the_newest_first(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    new, old = [], []
    for _ in range(3):
        new.append(await submitted(client))
        old.append((await post(client, LEGACY, LEGACY_BODY)).json()["data"]["task_id"])
        clock.advance(LONG_ENOUGH)

    first = (await post(client, "/kling/tasks", {"limit": 2})).json()["data"]
    rest = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await post(client, "/kling/tasks", rest)).json()["data"]
    page = (await get(client, f"{LEGACY}?pageNum=2&pageSize=2")).json()["data"]

    assert [one["id"] for one in first["result"]] == [new[2], new[1]]
    assert [one["id"] for one in second["result"]] == [new[0]]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [one["task_id"] for one in page] == [old[0]]
    assert (await post(client, "/kling/tasks", {"limit": 501})).json()["code"] == 1201
    assert (await get(client, f"{LEGACY}?pageSize=501")).json()["code"] == 1201


@pytest.mark.parametrize("path", [TEXT, LEGACY])
async def test_tasks_beyond_the_models_limit_are_429_with_code_1303(
    client: httpx.AsyncClient, clock: Clock, path: str
) -> None:
    answers = [
        await post(client, path, LEGACY_BODY if path == LEGACY else {"prompt": "a"})
        for _ in range(3)
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["code"] == 1303
    assert "Retry-After" not in answers[2].headers
    clock.advance(LONG_ENOUGH)
    body = LEGACY_BODY if path == LEGACY else {"prompt": "a"}
    assert (await post(client, path, body)).status_code == 200


def token(clock: Clock, secret: str = SECRET_KEY, **changes: object) -> str:
    """As the documents make one, with an HMAC of our own."""
    claims = {"iss": ACCESS_KEY, "exp": int(clock()) + 1800, "nbf": int(clock()) - 5} | changes
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signed = ".".join(parts)
    digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


async def test_a_signed_token_opens_the_older_endpoints_only(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    headers = {"Authorization": f"Bearer {token(clock)}"}

    assert (await client.post(LEGACY, json=LEGACY_BODY, headers=headers)).status_code == 200
    refused = await client.post(TEXT, json={"prompt": "a cat"}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (401, 1002)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secret": "another"}, 1002),
        ({"iss": "another"}, 1002),
        ({"nbf": 10**9}, 1003),
        ({"nbf": None}, 1003),
        ({"exp": 7}, 1004),
        ({"exp": None}, 1004),
    ],
)
async def test_a_token_that_is_not_in_force_is_401_with_the_reasons_code(
    client: httpx.AsyncClient, clock: Clock, changes: dict[str, Any], code: int
) -> None:
    headers = {"Authorization": f"Bearer {token(clock, **changes)}"}

    answer = await client.get(f"{LEGACY}/1", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Basic abcdefgh"}])
async def test_without_a_key_there_is_nothing(
    client: httpx.AsyncClient, sent: dict[str, str]
) -> None:
    for path in ("/kling/tasks?task_ids=1", f"{LEGACY}/1"):
        answer = await client.get(path, headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (401, 1001)
        assert set(answer.json()) == {"code", "message", "request_id"}


async def test_tokens_that_cannot_be_read_are_refused(client: httpx.AsyncClient) -> None:
    for nonsense in ("a.b.cdefgh", "é.b.cdefghij", "W10.W10.AAAAAAAA"):
        headers = {b"Authorization": f"Bearer {nonsense}".encode()}
        answer = await client.get(f"{LEGACY}/1", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, 1002)


FRAME = {"type": "first_frame", "url": PICTURE}
PROMPT = {"type": "prompt", "text": "a cat"}


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        (TEXT, {}, "prompt"),
        (TEXT, {"prompt": "p" * 3073}, "prompt"),
        (TEXT, {"prompt": "a", "seed": 7}, "seed"),
        (TEXT, {"prompt": "a", "settings": 7}, "settings"),
        (TEXT, {"prompt": "a", "settings": {"duration": "5"}}, "settings.duration"),
        (TEXT, {"prompt": "a", "settings": {"duration": 2}}, "settings.duration"),
        (TEXT, {"prompt": "a", "settings": {"resolution": "480p"}}, "settings.resolution"),
        (TEXT, {"prompt": "a", "settings": {"aspect_ratio": "4:3"}}, "settings.aspect_ratio"),
        (TEXT, {"prompt": "a", "settings": {"audio": "on"}}, "settings.audio"),
        (TEXT, {"prompt": "a", "settings": {"multi_shot": 1}}, "settings.multi_shot"),
        (f"{TEXT}-turbo", {"prompt": "a", "settings": {"audio": "off"}}, "settings.audio"),
        (f"{TEXT}-turbo", {"prompt": "a", "settings": {"resolution": "4k"}}, "settings.res"),
        (TEXT, {"prompt": "a", "options": {"watermark_info": True}}, "options.watermark_info"),
        (TEXT, {"prompt": "a", "options": {"external_task_id": 7}}, "options.external_task_id"),
        (IMAGE, {"prompt": "a"}, "prompt"),
        (IMAGE, {"contents": [PROMPT]}, "first_frame"),
        (IMAGE, {"contents": [FRAME]}, "prompt"),
        (IMAGE, {"contents": [PROMPT, FRAME, FRAME]}, "contents[1].type"),
        (IMAGE, {"contents": [PROMPT, FRAME, 7]}, "contents[2].type"),
        (IMAGE, {"contents": [PROMPT, FRAME | {"url": "data:image/png;base64,AAAA"}]}, "url"),
        (IMAGE, {"contents": [PROMPT, FRAME], "settings": {"aspect_ratio": "1:1"}}, "aspect"),
        (
            f"{IMAGE}-turbo",
            {"contents": [PROMPT, FRAME, FRAME | {"type": "last_frame"}]},
            "contents[2].type",
        ),
        (LEGACY, {}, "prompt"),
        (LEGACY, {"prompt": "p" * 2501}, "prompt"),
        (LEGACY, LEGACY_BODY | {"duration": 5}, "duration"),
        (LEGACY, LEGACY_BODY | {"duration": "7"}, "duration"),
        (LEGACY, LEGACY_BODY | {"mode": "fast"}, "mode"),
        (LEGACY, LEGACY_BODY | {"cfg_scale": 0.5}, "cfg_scale"),
        (LEGACY, {"prompt": "a", "cfg_scale": 1.5}, "cfg_scale"),
        (LEGACY, {"prompt": "a", "sound": "on"}, "sound"),
        (LEGACY, LEGACY_BODY | {"image": PICTURE}, "image"),
        ("/kling/v1/videos/image2video", LEGACY_BODY, "image"),
        ("/kling/v1/videos/image2video", {"image": "data:x"}, "image"),
        ("/kling/v1/videos/image2video", {"image": PICTURE, "image_tail": "é"}, "image_tail"),
    ],
)
async def test_a_body_the_vendor_would_refuse_is_400_with_the_member_named(
    client: httpx.AsyncClient, path: str, body: object, word: str
) -> None:
    answer = await post(client, path, body)

    assert (answer.status_code, answer.json()["code"]) == (400, 1201), answer.text
    assert word in answer.json()["message"]
    assert (await client.get("/_sim/bill")).json()["data"] == []


async def test_a_model_that_is_not_there_is_404_with_code_1203(client: httpx.AsyncClient) -> None:
    for path, body in (
        ("/kling/text-to-video/kling-9", {"prompt": "a cat"}),
        (LEGACY, {"model_name": "kling-9", "prompt": "a cat"}),
    ):
        answer = await post(client, path, body)
        assert (answer.status_code, answer.json()["code"]) == (404, 1203)


async def test_base64_pictures_and_empty_options_are_taken(client: httpx.AsyncClient) -> None:
    frames = [PROMPT, FRAME | {"url": "aGVsbG8="}, FRAME | {"type": "last_frame"}]
    empty = {"callback_url": "", "external_task_id": ""}
    legacy = {"image": "aGVsbG8=", "image_tail": PICTURE, **empty}

    assert (await post(client, IMAGE, {"contents": frames, "options": empty})).status_code == 200
    assert (await post(client, "/kling/v1/videos/image2video", legacy)).status_code == 200


async def test_a_scripted_fault_has_the_vendors_shape_and_finds_its_prompt(
    client: httpx.AsyncClient,
) -> None:
    fault = {"on": "submit", "do": "status", "status": 503, "match_prompt": "cat"}
    faults = [fault | {"provider": name} for name in ("kling", "kling_legacy")]
    await client.post("/_sim/faults", json=faults)

    assert (await post(client, TEXT, {"prompt": "a dog"})).status_code == 200
    struck = await post(client, IMAGE, {"contents": [PROMPT, FRAME]})
    older = await post(client, LEGACY, LEGACY_BODY)

    for answer in (struck, older):
        assert (answer.status_code, answer.json()["code"]) == (503, 5001)


async def test_a_fault_on_polls_finds_its_prompt_by_either_id_and_without_a_key(
    client: httpx.AsyncClient,
) -> None:
    await submitted(client, options={"external_task_id": "one"})
    fault = {"provider": "kling", "on": "poll", "do": "status", "status": 429, "times": 1}
    await client.post("/_sim/faults", json=[fault | {"match_prompt": "cat"}])

    assert (await client.get("/kling/tasks?external_task_ids=one")).status_code == 401
    struck = await get(client, "/kling/tasks?external_task_ids=one")

    assert (struck.status_code, struck.json()["code"]) == (429, 1302)
