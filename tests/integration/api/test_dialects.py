"""A dialect is one object: every error below its prefix has its shape, and no other one has."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, NoReturn

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.app import create_app
from api.auth import Keyring
from api.body import MAX_BODY, read_json
from api.dialects.dialect import Dialect
from api.errors import STATUS, Renderers
from api.front import Front, TenantRoute
from models.database import Database
from models.failure import RequestRefused
from models.keys import create_key
from settings import Settings
from tests.integration.api.conftest import Api, Hints

pytestmark = pytest.mark.anyio
NATIVE = {"type", "code", "message", "param", "request_id"}


class Toy:
    """`{"toy", "status", "says"}`; a wrong value is 422."""

    def __init__(self, name: str) -> None:
        self.name = name

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:
        status = 422 if refusal.type == "invalid_request" else int(STATUS[refusal.type])
        body = {"toy": self.name, "status": status, "says": refusal.message, "id": request_id}
        return answer(body, status=status)


class Broken:
    def render(self, refusal: RequestRefused, *, request_id: str | None) -> NoReturn:
        raise LookupError(refusal.type)


router = APIRouter()


@router.post("/toy/open")
async def _open(request: Request) -> Response:
    return answer(await read_json(request))


@router.get("/toy/numbers/{number}")
async def _number(number: int) -> Response:
    return answer(number)


@router.get("/toy/fails")
@router.get("/toy/broken/fails")
async def _fails() -> Response:
    msg = "inner knowledge"
    raise RuntimeError(msg)


closed = APIRouter(route_class=TenantRoute)


@closed.get("/toy/closed")
async def _closed() -> Response:
    return answer("open")


router.include_router(closed)

TOY = Dialect(prefixes=("/toy", "/also"), router=router, errors=Toy("toy"))
INNER = Dialect(prefixes=("/toy/inner",), router=APIRouter(), errors=Toy("inner"))
BROKEN = Dialect(prefixes=("/toy/broken",), router=APIRouter(), errors=Broken())


@pytest.fixture
async def http(api_settings: Settings, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(api_settings, hinter=Hints, dialects=(TOY, INNER, BROKEN))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as client,
    ):
        yield client


def _front(http: httpx.AsyncClient) -> Front:
    transport: Any = http._transport  # noqa: SLF001 - the application behind the client
    front: Front = transport.app.state.front
    return front


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/toy", {}, 404),
        ("GET", "/toy/nowhere", {}, 404),
        ("GET", "/also/nowhere", {}, 404),
        ("DELETE", "/toy/open", {}, 405),
        ("POST", "/toy/open", {"headers": {"Content-Length": str(MAX_BODY + 1)}}, 413),
        ("POST", "/toy/open", {"content": b" " * (MAX_BODY + 1)}, 413),
        ("POST", "/toy/open", {"content": b"{"}, 422),
        ("GET", "/toy/numbers/three", {}, 422),
        ("GET", "/toy/closed", {}, 401),
        ("GET", "/toy/closed", {"headers": {"Authorization": "Bearer lt_" + "x" * 32}}, 401),
        ("GET", "/toy/fails", {}, 500),
    ],
)
async def test_every_error_below_the_prefix_has_the_dialects_shape(
    http: httpx.AsyncClient, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    shown = await http.request(method, path, **options)

    assert shown.status_code == status
    assert shown.json().keys() == {"toy", "status", "says", "id"}
    assert (shown.json()["toy"], shown.json()["status"]) == ("toy", status)
    assert shown.json()["id"] == shown.headers["X-Request-ID"]
    assert "inner knowledge" not in shown.text
    headers = {405: "Allow", 401: "WWW-Authenticate", 413: "Connection"}
    assert headers.get(status, "X-Request-ID") in shown.headers


async def test_a_database_that_is_away_has_the_dialects_shape(http: httpx.AsyncClient) -> None:
    front = _front(http)
    _, plain = await front.engine.database.run(lambda connection: create_key(connection, "acme"))
    away = Database("postgresql://127.0.0.1:9/none", timeout=0.1)
    own, front.engine = front.engine, replace(front.engine, database=away)
    front.keyring = Keyring(away)

    shown = await http.get("/toy/closed", headers={"Authorization": f"Bearer {plain}"})

    assert shown.status_code == 503
    assert (shown.json()["toy"], shown.json()["status"]) == ("toy", 503)
    assert shown.headers["Retry-After"] == "5"
    await away.close()
    front.engine = own


async def test_the_longest_prefix_wins_and_ends_with_a_segment(http: httpx.AsyncClient) -> None:
    assert (await http.get("/toy/inner/nowhere")).json()["toy"] == "inner"
    assert (await http.get("/toy/innermost")).json()["toy"] == "toy"
    for native in ("/toys/nowhere", "/nowhere", "/v1/video/generations"):
        assert (await http.get(native)).json()["error"].keys() == NATIVE


async def test_a_renderer_that_fails_hides_no_error(http: httpx.AsyncClient) -> None:
    for path, status in (("/toy/broken/nowhere", 404), ("/toy/broken/fails", 500)):
        shown = await http.get(path)

        assert shown.status_code == status
        assert shown.json()["error"].keys() == NATIVE


@pytest.mark.parametrize("prefixes", [("toy",), ("/toy/",), ("/toy", "/toy")])
async def test_a_prefix_is_a_path_and_registered_once(prefixes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Renderers((prefix, Toy("toy")) for prefix in prefixes)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/perf/v1/video/generations", {}, "prompt {most} for runway-gen3 model {has}"),
        (
            "/lunos/v1/video/generations",
            {"model": "google/veo-3.0-generate-preview"},
            "prompt {most} for the model that makes it {has}",
        ),
        (
            "/imagineo/v1/videos/generate",
            {"image_url": "https://pictures.example.com/a.png"},
            "prompt {most} for runway-gen3 model {has}",
        ),
        ("/v1/videos", {"model": "runway-gen3"}, "prompt {most} for runway-gen3 model {has}"),
        (
            "/layer/v3/video",
            {"gateId": "shop", "data": {}},
            "data.prompt {most} for runway-gen3 model {has}",
        ),
    ],
)
async def test_a_prompt_that_the_model_can_not_take_is_refused_with_the_models_number(
    api: Api, path: str, body: dict[str, Any], message: str
) -> None:
    """Their documents name no maximum; Lunos' names a model that another one stands in for."""
    gate = await api.http.post("/v1/gates", json={"name": "shop", "model": "runway-gen3"})
    assert gate.status_code == 201
    sent = dict(body)
    if "data" in sent:
        sent["data"] = {"prompt": "x" * 1001}
    else:
        sent["prompt"] = "x" * 1001

    refused = await api.http.post(path, json=sent)

    assert refused.status_code == 400, refused.text
    words = {"most": "exceeds maximum of 1000 UTF-16 code units", "has": "(it has 1001)"}
    shown = refused.json()
    fault = shown["error"]
    told = fault["message"] if isinstance(fault, dict) else shown.get("message", fault)
    assert told == message.format(**words)
    assert (await api.counts())["job"] == 0
