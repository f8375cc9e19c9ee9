"""GET /v1/models: what can be asked for, what it costs and what is missing."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import Api, other_settings

pytestmark = pytest.mark.anyio


async def _models(api: Api) -> dict[str, dict[str, Any]]:
    answer = await api.http.get("/v1/models")
    assert answer.status_code == 200
    assert (answer.json()["has_more"], answer.json()["next"]) == (False, None)
    return {model["id"]: model for model in answer.json()["data"]}


async def test_every_model_of_the_catalogue_is_listed(api: Api) -> None:
    models = await _models(api)

    catalog = api.front.engine.catalog
    by_provider = [each for model in catalog.models() for each in catalog.by_provider(model)]
    assert models.keys() == {model.name for model in (*catalog.models(), *by_provider)}
    assert models["perf/gen4.5"]["provider"] == "perf"
    assert "runway-gen3" in models["gen4.5"]["aliases"]
    for model in models.values():
        assert model["price"]["date"]
        assert model["price"]["source"]


async def test_a_model_without_credentials_says_which_variable_to_set(api: Api) -> None:
    models = await _models(api)

    assert (models["gen4.5"]["available"], models["gen4.5"]["set_to_use"]) == (True, None)
    assert models["ray-3.2"]["available"] is False
    assert "LUMA_AGENTS_API_KEY" in models["ray-3.2"]["set_to_use"]


async def test_a_retired_model_says_what_to_use_and_is_refused(api: Api) -> None:
    """With its key alone it would be asked for at an address that answers 404."""
    models = await _models(api)

    veo, sora = models["gemini_veo/veo3.1"], models["sora-2"]
    assert (veo["available"], sora["available"]) == (False, False)
    assert veo["retired"] == {
        "on": "2026-10-22",
        "reason": "Google retired gemini_veo/veo3.1 on 2026-10-22",
        "use": ["veo3.1", "gemini-omni-1.1-flash"],
    }
    assert (sora["retired"]["on"], sora["retired"]["use"]) == ("2026-09-24", [])
    assert "GOOGLE_GEMINI_BASE_URL" in veo["set_to_use"]
    assert models["veo3.1"]["retired"] is None  # Runway and Vertex AI make it
    assert "GOOGLE_GEMINI_BASE_URL" not in (models["veo3.1"]["set_to_use"] or "")

    refused = await api.http.post(
        "/v1/video/generations", json={"prompt": "a fox", "model": "gemini_veo/veo-3"}
    )
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("model_unavailable", "model_retired")
    assert error["message"] == (
        "Google retired gemini_veo/veo-3 on 2026-10-22; use veo3.1 or gemini-omni-1.1-flash, or a "
        "gateway that still makes it: set GEMINI_API_KEY and GOOGLE_GEMINI_BASE_URL"
    )


@pytest.mark.parametrize(
    ("base", "is_available"),
    [
        ("https://generativelanguage.googleapis.com/", False),
        ("https://gateway.example.com/google", True),
    ],
)
async def test_a_gateway_still_makes_what_its_vendor_retired(
    database_url: str, tmp_path: Path, base: str, *, is_available: bool
) -> None:
    google = {"GEMINI_API_KEY": "AIza-for-tests", "GOOGLE_GEMINI_BASE_URL": base}
    async with other_settings(database_url, tmp_path, **google) as http:
        models = {each["id"]: each for each in (await http.get("/v1/models")).json()["data"]}
        answer = await http.post(
            "/v1/video/generations", json={"prompt": "a fox", "model": "gemini_veo/veo3.1"}
        )
        gate = {"name": "old", "model": "gemini_veo/veo3.1"}
        made = await http.post("/v1/gates", json=gate)
        by_gate = await http.post("/v1/video/generations", json={"prompt": "a", "gate": "old"})
        batch = await http.post(
            "/v1/batches", json=[{"prompt": "a fox", "model": "gemini_veo/veo3.1"}]
        )

    assert models["gemini_veo/veo3.1"]["available"] is is_available
    assert (models["gemini_veo/veo3.1"]["retired"] is None) is is_available
    assert models["gemini-omni-1.1-flash"]["available"] is True
    assert made.status_code == 201
    accepted = [each.status_code == 202 for each in (answer, by_gate, batch)]
    assert accepted == [is_available] * 3
    if not is_available:
        for each in (answer, by_gate, batch):
            assert "use veo3.1 or gemini-omni-1.1-flash" in each.text


async def test_a_model_whose_accounts_send_nothing_says_why(api: Api) -> None:
    assert {model["paused"] for model in (await _models(api)).values()} == {None}
    await api.fetch(
        "INSERT INTO account_rule (name, block_code, block_reason, blocked_at, probe_at) "
        "VALUES ('runway', 'provider_quota', 'no credits left', now(), now() + interval '30 s')"
    )

    models = await _models(api)

    paused = models["gen4.5"]["paused"]
    assert paused["code"] == "provider_quota"
    assert 0 < paused["resumes_in_seconds"] <= 30
    assert models["gen4.5"]["available"] is True
    assert models["ray-3.2"]["paused"] is None


async def test_limits_and_prices_are_those_that_a_submission_meets(api: Api) -> None:
    for name, model in (await _models(api)).items():
        if not model["available"] or model["limits"]["image"] == "required":
            continue
        limits, price = model["limits"], model["price"]
        longest = max(limits["durations"])

        job = await api.submit(model=name, duration_seconds=longest, size=limits["sizes"][0])

        prices = price["per_second_with_audio"] or price["per_second"]
        assert job["estimated_cost_usd"] == pytest.approx(longest * prices[job["resolution"]])
        refused = await api.http.post(
            "/v1/video/generations",
            json={"prompt": "a", "model": name, "duration_seconds": longest + 1},
        )
        assert refused.status_code == 400


async def test_a_model_tells_its_types_of_references_and_where_it_has_fewer_durations(
    api: Api,
) -> None:
    models = await _models(api)

    limits = models["veo/veo3.1"]["limits"]
    assert limits["reference_types"] == ["subject", "asset"]
    combination = {
        "given": ["reference_images"],
        "without": [],
        "resolutions": [],
        "durations": [8],
    }
    assert combination in limits["combinations"]
    assert models["gen4.5"]["limits"]["reference_types"] == []


async def test_capabilities_say_what_the_provider_can_do(api: Api) -> None:
    runway = (await _models(api))["gen4.5"]["capabilities"]

    assert runway["progress"] == "reported"
    assert runway["cancel"] is True
    assert runway["look_up"] is not None
    assert runway["sources"]
