"""A dialect's submission through a model or a gate: adapted, accepted once, and told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.app import create_app
from api.dialects.dialect import Dialect
from api.dialects.fields import read_object
from api.dialects.submitting import read_own, submit, view_of
from api.errors import NATIVE
from api.front import TenantRoute
from settings import Settings, load
from tests.integration.api.conftest import ENVIRONMENT, Api, Hints

pytestmark = pytest.mark.anyio
router = APIRouter(route_class=TenantRoute)


@router.post("/toy/jobs")
async def _submit(request: Request) -> Response:
    body = await read_object(request)
    submitted = await submit(request, body, body=body, app_id="from the body")
    return answer(submitted.view, status=202, headers=submitted.headers)


@router.get("/toy/jobs/{job_id}")
async def _read(request: Request, job_id: str) -> Response:
    return answer(view_of(request, await read_own(request, job_id)))


TOY = Dialect(prefixes=("/toy",), router=router, errors=NATIVE)


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[Api]:
    hints = Hints()
    app = create_app(settings, hinter=lambda: hints, dialects=(TOY,))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as http,
    ):
        made = Api(app=app, http=http, hints=hints, key="")
        http.headers["Authorization"] = f"Bearer {await made.new_key('acme')}"
        yield made


@pytest.fixture
async def toy(api_settings: Settings, anyio_backend: str) -> AsyncIterator[Api]:
    async with _serving(api_settings) as made:
        yield made


async def _ask(toy: Api, **fields: Any) -> httpx.Response:
    return await toy.http.post("/toy/jobs", json={"prompt": "a fox"} | fields)


async def _gate(toy: Api, **fields: Any) -> None:
    gate = {"name": "shop", "model": "gen4_turbo"} | fields
    made = await toy.http.post("/v1/gates", json=gate)
    assert made.status_code == 201, made.text


async def test_a_model_takes_the_nearest_and_the_job_can_be_retried(toy: Api) -> None:
    accepted = await _ask(toy, model="veo-3", duration_seconds=5, fps=60, seed=-1, colour="red")
    assert accepted.status_code == 400  # what a dialect passes on is the native request's
    accepted = await _ask(toy, model="veo-3", duration_seconds=5, fps=60, seed=-1)

    job = accepted.json()
    told = "duration_seconds=6 (asked 5), fps, seed=4294967295 (asked -1)"
    assert accepted.headers["Longtake-Adapted"] == told
    assert (job["duration_seconds"], job["seed"], job["app_id"]) == (6, 2**32 - 1, "from the body")
    assert (await toy.http.get(f"/toy/jobs/{job['id']}")).json()["id"] == job["id"]
    await toy.http.post(f"/v1/video/generations/{job['id']}/cancel")
    retried = await toy.http.post(f"/v1/video/generations/{job['id']}/retry")
    assert retried.status_code == 202
    assert retried.json()["duration_seconds"] == 6


async def test_a_gates_model_is_adapted_to_and_the_gate_still_chooses(toy: Api) -> None:
    """Luma has no credentials here, and the turbo model needs a picture."""
    models = {"model": "gen4_turbo", "fallback_models": ["luma-dream-machine", "veo-3"]}
    await _gate(toy, strategy="round-robin", **models)

    accepted = await _ask(toy, gate="shop", duration_seconds=5, negative_prompt="rain")

    assert accepted.status_code == 202, accepted.text
    assert accepted.headers["Longtake-Adapted"] == "duration_seconds=6 (asked 5)"
    assert accepted.json()["perf"]["model_used"] == "veo3.1"
    assert accepted.json()["gate"].startswith("gate_")


async def test_a_gates_model_without_credentials_is_made_by_a_gateway(
    database_url: str, tmp_path: Path
) -> None:
    own = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(tmp_path)}
    only_perf = {"RUNWAYML_API_SECRET": "", "PERF_API_KEY": "pk_test_abcdefgh"}
    async with _serving(load(ENVIRONMENT | own | only_perf)) as toy:
        await _gate(toy, model="runway-gen3", overrides="none")

        plain = await _ask(toy, model="runway-gen3")
        gated = await _ask(toy, gate="shop")
        named = await toy.http.post(
            "/v1/video/generations", json={"prompt": "a fox", "model": "runway-gen3"}
        )

        assert (plain.status_code, gated.status_code) == (202, 202), gated.text
        plans = await toy.fetch("SELECT plan->>'provider' AS provider FROM job")
        assert [plan["provider"] for plan in plans] == ["perf", "perf"]
        assert named.status_code == 503  # natively a gateway is named


async def test_what_a_gate_forbids_is_refused_and_not_adapted(toy: Api) -> None:
    await _gate(toy, model="runway-gen3", overrides=["aspect_ratio"])

    allowed = await _ask(toy, gate="shop", aspect_ratio="4:3")
    forbidden = await _ask(toy, gate="shop", duration_seconds=5)

    assert allowed.status_code == 202, allowed.text
    assert allowed.headers["Longtake-Adapted"] == "aspect_ratio=16:9 (asked 4:3)"
    assert forbidden.status_code == 400
    assert "the gate shop allows" in forbidden.json()["error"]["message"]


async def test_an_unknown_gate_and_another_tenants_are_not_found(toy: Api) -> None:
    await _gate(toy, model="runway-gen3")
    other = await toy.new_key("other")

    unknown = await _ask(toy, gate="nowhere")
    foreign = await toy.http.post(
        "/toy/jobs",
        json={"prompt": "a", "gate": "shop"},
        headers={"Authorization": f"Bearer {other}"},
    )

    assert (unknown.status_code, foreign.status_code) == (404, 404)
    assert (await toy.counts())["job"] == 0


async def test_a_maximum_is_enforced_and_nothing_is_written(toy: Api) -> None:
    refused = await _ask(toy, model="veo-3", duration_seconds=60)

    assert refused.status_code == 400
    message = "duration_seconds exceeds maximum of 8 for veo-3 model"
    assert refused.json()["error"]["message"] == message
    assert (await toy.counts())["job"] == 0
    assert toy.hints.sent == []
