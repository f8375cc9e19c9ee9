"""Providers' callbacks: a hint at an address that only one attempt's provider knows."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from models.failure import RequestRefused
from models.request import VideoRequest
from models.verbs import What
from settings import Settings, load
from tasks.callbacks import hear
from tasks.engine import Engine
from tasks.intake import accept
from tests.integration.api.conftest import ENVIRONMENT, Api

pytestmark = pytest.mark.anyio

MINIMAX = pytest.mark.parametrize("provider", ["minimax", "minimax_v2"])


@pytest.fixture
def api_settings(database_url: str, tmp_path: Path) -> Settings:
    own = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(tmp_path)}
    return load(
        ENVIRONMENT
        | own
        | dict.fromkeys(("MINIMAX_API_KEY", "FAL_KEY", "REPLICATE_API_TOKEN"), "a-key-for-tests")
    )


async def unknown_attempt(api: Api, provider: str, **asked: object) -> str:
    """The callback address of a job's attempt whose answer was lost."""
    await api.submit(**asked)
    await api.fetch("UPDATE job SET state = 'submitting'")
    (attempt,) = await api.fetch(
        "UPDATE attempt SET state = 'unknown', sent_at = now(), payload_hash = '', provider = %s, "
        "account = %s RETURNING marker",
        provider,
        provider,
    )
    await api.fetch(
        "UPDATE due SET what = 'look_up', lane = %s, at = now() + interval '5 min' "
        "WHERE what = 'submit'",
        provider,
    )
    api.hints.sent.clear()
    del api.http.headers["Authorization"]
    return f"/callbacks/{provider}/{attempt['marker']}"


async def test_a_callback_makes_the_attempts_next_poll_due_now(api: Api) -> None:
    await api.submit()
    await api.fetch("UPDATE job SET state = 'processing'")
    (attempt,) = await api.fetch(
        "UPDATE attempt SET state = 'accepted', operation_id = 'op-1' RETURNING marker"
    )
    await api.fetch(
        "UPDATE due SET what = 'poll', at = now() + interval '1 hour' WHERE what = 'submit'"
    )
    api.hints.sent.clear()
    del api.http.headers["Authorization"]

    answer = await api.http.post(f"/callbacks/runway/{attempt['marker']}", content=b"whatever")

    assert (answer.status_code, answer.content) == (200, b"")
    (due,) = await api.fetch("SELECT at <= now() AS is_due FROM due WHERE what = 'poll'")
    assert due["is_due"]
    assert api.hints.sent == [(What.POLL, "runway")]


@pytest.mark.parametrize(("signed_with", "status"), [("of-a", 200), ("plain", 404)])
async def test_a_callback_is_verified_with_the_secret_of_its_own_account(
    database_url: str, tmp_path: Path, signed_with: str, status: int
) -> None:
    keys = {name: base64.b64encode(name.encode() * 4).decode() for name in ("of-a", "plain")}
    own = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(tmp_path)}
    secrets = {
        "KLING_WEBHOOK_SECRET": f"whsec_{keys['plain']}",
        "KLING_WEBHOOK_SECRET__A": f"whsec_{keys['of-a']}",
        "KLING_API_KEY__A": "a-key-for-tests",
    }
    engine = Engine.build(load(ENVIRONMENT | own | secrets))
    try:
        request = VideoRequest.from_json({"prompt": "a fox", "model": "kling-3.0"})
        lane = (await accept(engine, request, tenant="default")).lane
        (attempt,) = await engine.database.fetch("SELECT marker FROM attempt")
        at = int(time.time())
        key = signed_with.encode() * 4
        mac = hmac.digest(key, f"m1.{at}.{{}}".encode(), "sha256")
        headers = {
            "webhook-id": "m1",
            "webhook-timestamp": str(at),
            "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        }
        heard = hear(engine, "kling", attempt["marker"], headers=headers, body=b"{}")
        if status == 200:
            assert (await heard).lane == lane == "kling:a"
        else:
            with pytest.raises(RequestRefused):
                await heard
    finally:
        await engine.close()


@pytest.mark.parametrize("address", ["runway/nope", "nobody/nope", "runway/%00", "%00/x"])
async def test_an_address_that_was_never_given_out_is_404(api: Api, address: str) -> None:
    answer = await api.http.post(f"/callbacks/{address}", content=b"{}")

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found"
    assert api.hints.sent == []


@pytest.mark.parametrize("wrong", ["second half", "first half", "provider", "form"])
async def test_a_wrong_token_is_refused_before_its_body_is_read_and_writes_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    address = await unknown_attempt(api, "fal", model="pika")
    marker = address.rpartition("/")[2]
    elsewhere = {
        "second half": address[:-1] + ("1" if marker[-1] == "0" else "0"),
        "first half": address.replace(marker, ("1" if marker[0] == "0" else "0") + marker[1:]),
        "provider": address.replace("fal", "runway"),
        "form": address + "0",
    }
    before = await api.fetch("SELECT * FROM due ORDER BY what")
    statements: list[str] = []
    execute = psycopg.AsyncConnection.execute

    async def noted(self: Any, query: Any, *parameters: Any, **options: Any) -> Any:
        statements.append(str(query).split(maxsplit=1)[0])
        return await execute(self, query, *parameters, **options)

    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 1000

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", noted)
    answer = await api.http.post(elsewhere[wrong], content=body())

    assert answer.status_code == 404
    assert read == 0
    assert set(statements) == ({"SELECT"} if wrong != "form" else set())
    assert await api.fetch("SELECT * FROM due ORDER BY what") == before
    assert api.hints.sent == []


async def test_no_length_is_told_apart_before_the_token_is_known(api: Api) -> None:
    answer = await api.http.post("/callbacks/fal/" + "0" * 26, headers={"Content-Length": "9" * 19})

    assert answer.status_code == 404


@pytest.mark.parametrize("length", ["told", "not told"])
@pytest.mark.parametrize(("provider", "most"), [("fal", 256 * 2**10), ("replicate", 8 * 2**20)])
async def test_a_body_above_its_vendors_limit_only_makes_the_look_up_due(
    api: Api, provider: str, most: int, length: str
) -> None:
    address = await unknown_attempt(api, provider, model="pika")
    id_field = {"fal": "request_id", "replicate": "id"}[provider]
    opening = json.dumps({id_field: "764cabcf-b745", "logs": ""}).encode().removesuffix(b'"}')

    async def of(size: int) -> httpx.Response:
        body = opening + b"x" * (size - len(opening) - 2) + b'"}'

        async def pieces() -> AsyncIterator[bytes]:
            for begin in range(0, size, 2**16):
                yield body[begin : begin + 2**16]

        return await api.http.post(address, content=body if length == "told" else pieces())

    answer = await of(most + 1)

    assert (answer.status_code, answer.content) == (200, b"")
    (attempt,) = await api.fetch("SELECT state FROM attempt")
    assert attempt["state"] == "unknown"
    assert api.hints.sent == [(What.POLL, provider)]

    # And one of the limit is read
    assert (await of(most)).status_code == 200
    (attempt,) = await api.fetch("SELECT state FROM attempt")
    assert attempt["state"] == "accepted"


@MINIMAX
async def test_a_challenge_is_echoed_and_changes_nothing(api: Api, provider: str) -> None:
    address = await unknown_attempt(api, provider)
    before = await api.fetch("SELECT * FROM due ORDER BY what")

    answer = await api.http.post(address, json={"challenge": "0a1b2c"})

    assert (answer.status_code, answer.json()) == (200, {"challenge": "0a1b2c"})
    assert answer.headers["content-type"] == "application/json"
    assert await api.fetch("SELECT * FROM due ORDER BY what") == before
    assert api.hints.sent == []
    # Nor is anything echoed elsewhere
    for elsewhere in (f"{address}x", address.replace(provider, "runway")):
        refused = await api.http.post(elsewhere, json={"challenge": "0a1b2c"})
        assert refused.status_code == 404
        assert "0a1b2c" not in refused.text


@MINIMAX
async def test_a_callback_adopts_the_operation_whose_answer_was_lost(
    api: Api, provider: str
) -> None:
    address = await unknown_attempt(api, provider)
    told = {
        "minimax": {"task_id": "77", "status": "processing"},
        "minimax_v2": {"task": {"id": "77"}},
    }

    for _ in range(2):  # a vendor that tells again adds nothing
        answer = await api.http.post(address, content=json.dumps(told[provider]))
        assert answer.status_code == 200

    (attempt,) = await api.fetch("SELECT state, operation_id FROM attempt")
    assert attempt == {"state": "accepted", "operation_id": "77"}
    assert await api.fetch("SELECT state FROM job") == [{"state": "processing"}]
    (due,) = await api.fetch(
        "SELECT what, lane, at <= now() AS is_due FROM due WHERE what <> 'expire'"
    )
    assert due == {"what": "poll", "lane": provider, "is_due": True}
    assert set(api.hints.sent) == {(What.POLL, provider)}


async def test_what_a_callback_leaves_out_the_jobs_plan_knows(api: Api) -> None:
    """fal tells the request, and its place begins with the app of the model's endpoint."""
    address = await unknown_attempt(api, "fal", model="pika")

    answer = await api.http.post(address, json={"request_id": "764cabcf-b745", "status": "OK"})

    assert answer.status_code == 200
    (attempt,) = await api.fetch("SELECT state, operation_id FROM attempt")
    assert attempt == {
        "state": "accepted",
        "operation_id": "fal-ai/pika/requests/764cabcf-b745",
    }
