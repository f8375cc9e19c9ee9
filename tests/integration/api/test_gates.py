"""Gates over HTTP: what they say, what they forbid, and what they choose."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from api.app import create_app
from models.gate import OVERRIDABLE
from models.request import VideoRequest
from tasks.intake import accept
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio

PATH = "/v1/gates"
GENERATIONS = "/v1/video/generations"
SHOP: dict[str, Any] = {
    "name": "shop",
    "model": "runway-gen3",
    "strategy": "fallback",
    "fallback_models": ["gen4_turbo"],
}
#: Both by Runway, whose credentials the tests' API has.
TURNS = SHOP | {"name": "turns", "strategy": "round-robin", "fallback_models": ["runway/veo3.1"]}

WRONG: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"name": None}, "name", "valid string"),
    ({"name": "-"}, "name", "letters, digits"),
    ({"name": "gate_1"}, "name", "not with gate_"),
    ({"name": "a" * 65}, "name", "64"),
    ({"model": "shop"}, "model", "not the gate itself"),
    ({"model": "nobody"}, "model", "must be one of gen4.5"),
    ({"fallback_models": ["nobody"]}, "fallback_models.0", "must be one of gen4.5"),
    ({"fallback_models": ["shop"]}, "fallback_models.0", "not the gate itself"),
    ({"fallback_models": ["gen4.5"]}, "fallback_models.0", "another model than model"),
    ({"fallback_models": ["gen4_turbo", "gen4_turbo"]}, "fallback_models.1", "another model"),
    ({"fallback_models": []}, "fallback_models", "must name 1 to 9 models"),
    ({"fallback_models": ["gen4_turbo"] * 10}, "fallback_models", "at most 9"),
    ({"strategy": "single"}, "strategy", "must be fallback or round-robin"),
    ({"strategy": "random"}, "strategy", "'single', 'fallback' or 'round-robin'"),
    ({"overrides": "some"}, "overrides", "must be all, none or a list of these fields: model"),
    ({"overrides": ["prompt"]}, "overrides", "must be all, none or a list"),
    ({"overrides": 7}, "overrides", "must be all, none or a list"),
    ({"spending_limit_usd": 0}, "spending_limit_usd", "greater than 0"),
    ({"spending_limit_usd": -1}, "spending_limit_usd", "greater than 0"),
    ({"spending_limit_usd": 1e-7}, "spending_limit_usd", "at least 0.000001 (it is 1e-07)"),
    ({"spending_limit_usd": 1e30}, "spending_limit_usd", "less than or equal to 1000000000"),
    ({"spending_limit_usd": "5"}, "spending_limit_usd", "valid number"),
    ({"colour": "red"}, "colour", "known: name, model, overrides"),
)


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post(PATH, json=SHOP | fields)
    assert answer.status_code == 201, answer.text
    gate: dict[str, Any] = answer.json()
    return gate


async def refusal(api: Api, **fields: Any) -> tuple[int, str | None, str]:
    answer = await api.http.post(GENERATIONS, json={"prompt": "a fox"} | fields)
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


async def test_a_gate_is_created_read_listed_replaced_and_deleted(api: Api) -> None:
    gate = await made(api, overrides=["duration_seconds"], spending_limit_usd=12.5)
    assert gate["id"].startswith("gate_")
    assert gate["overrides"] == ["duration_seconds"]
    assert gate["spending_limit_usd"] == 12.5
    for name in (gate["id"], "shop"):
        assert (await api.http.get(f"{PATH}/{name}")).json() == gate
    assert (await api.http.get(PATH)).json() == {"data": [gate], "has_more": False, "next": None}

    other = {"name": "shop-2", "model": "veo-3"}
    replaced = (await api.http.put(f"{PATH}/shop", json=other)).json()
    assert (replaced["id"], replaced["name"], replaced["model"]) == (gate["id"], "shop-2", "veo-3")
    assert (replaced["strategy"], replaced["fallback_models"]) == ("single", [])
    assert (replaced["overrides"], replaced["spending_limit_usd"]) == ("all", None)

    gone = await api.http.delete(f"{PATH}/shop-2")
    assert gone.json() == {"id": gate["id"], "object": "gate", "deleted": True}
    assert (await api.http.get(f"{PATH}/{gate['id']}")).status_code == 404


async def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(
    api: Api, subtests: pytest.Subtests
) -> None:
    for fields, param, words in WRONG:
        with subtests.test(msg=str(fields)):
            answer = await api.http.post(PATH, json=SHOP | fields)

            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (400, param), error
            assert error["message"].startswith(param)
            assert words in error["message"]
    assert (await api.http.get(PATH)).json()["data"] == []


async def test_a_name_is_used_once_by_a_tenant_and_again_by_another(api: Api) -> None:
    await made(api)
    await made(api, name="other")
    for method, path in (("POST", PATH), ("PUT", f"{PATH}/other")):
        answer = await api.http.request(method, path, json=SHOP)
        assert answer.status_code == 409
        assert answer.json()["error"]["param"] == "name"
    api.http.headers["Authorization"] = f"Bearer {await api.new_key('umbrella')}"
    await made(api)


async def test_another_tenants_gate_is_as_unknown_as_none(api: Api) -> None:
    gate = await made(api)
    api.http.headers["Authorization"] = f"Bearer {await api.new_key('umbrella')}"

    for name in (gate["id"], "shop", "nobody", "%00"):
        for method, body in (("GET", None), ("PUT", SHOP), ("DELETE", None)):
            answer = await api.http.request(method, f"{PATH}/{name}", json=body)
            assert answer.status_code == 404, answer.text
    for name in (gate["id"], "shop", "nobody"):
        assert await refusal(api, gate=name) == (
            *(404, "gate"),
            f"gate {name!r} not found: `gate` must be the id or the name of one of your gates",
        )


async def test_a_request_gets_the_gates_model_and_says_so(api: Api) -> None:
    gate = await made(api)
    for name in (gate["id"], "shop"):
        job = await api.submit(gate=name)
        read = (await api.http.get(f"{GENERATIONS}/{job['id']}")).json()
        for view in (job, read):
            assert (view["gate"], view["model"]) == (gate["id"], "runway-gen3")
            assert "hops" not in view


@pytest.mark.parametrize(
    ("overrides", "fields", "refused"),
    [
        ("none", {"duration_seconds": 4}, "duration_seconds"),
        ("none", {"model": "gen4.5"}, "model"),
        ([], {"count": 1}, "count"),
        (["model"], {"model": "gen4.5", "seed": 3}, "seed"),
        (["model", "seed"], {"model": "gen4.5", "seed": 3}, None),
        ("all", {"model": "gen4.5", "seed": 3, "duration_seconds": 4}, None),
        ("none", {"seed": None, "metadata": {"order": 1}, "priority": "high"}, None),
    ],
)
async def test_overrides_that_the_gate_forbids_are_refused_by_name(
    api: Api, overrides: Any, fields: dict[str, Any], refused: str | None
) -> None:
    await made(api, overrides=overrides)
    if refused is None:
        await api.submit(gate="shop", **fields)
        return
    status, param, message = await refusal(api, gate="shop", **fields)
    assert (status, param) == (400, refused)
    assert message.startswith(f"{refused} must not be set: the gate shop allows")


def test_every_field_that_may_be_forbidden_is_a_field_of_the_request() -> None:
    assert set(OVERRIDABLE) < set(VideoRequest.model_fields)


async def test_a_model_that_a_request_names_must_fit_and_others_are_passed_over(api: Api) -> None:
    await made(api, model="luma", fallback_models=["runway-gen3"])  # Luma has no credentials
    assert (await api.submit(gate="shop"))["perf"]["model_used"] == "gen4.5"

    assert (await refusal(api, gate="shop", model="nobody"))[:2] == (400, "model")
    named = await refusal(api, gate="shop", model="runway-gen3", duration_seconds=11)
    assert named[:2] == (400, "duration_seconds")

    await made(api, name="away", model="luma", strategy="single", fallback_models=[])
    assert (await refusal(api, gate="away"))[0] == 503


async def test_turns_are_equal_over_two_processes_and_a_repeat_takes_none(api: Api) -> None:
    await made(api, **TURNS)
    settings = api.front.engine.settings
    second = create_app(settings, hinter=lambda: api.hints)
    async with second.router.lifespan_context(second):
        engines = (api.front.engine, second.state.front.engine)
        request = VideoRequest.from_json({"prompt": "a fox", "gate": "turns"})

        async def ask(number: int) -> str:
            for engine in engines:  # both are told of the same job
                accepted = await accept(engine, request, tenant="acme", job_id=f"job_vid_{number}")
            model: str = accepted.view["perf"]["model_used"]
            return model

        models = Counter(await asyncio.gather(*(ask(number) for number in range(12))))
    assert models == {"gen4.5": 6, "veo3.1": 6}


async def test_a_spending_limit_holds_for_jobs_that_come_at_once(api: Api) -> None:
    """Each may cost 0.60; the limit allows for three, whichever these are."""
    await made(api, strategy="single", fallback_models=[], spending_limit_usd=2.0)
    answers = await asyncio.gather(
        *(api.http.post(GENERATIONS, json={"prompt": "a fox", "gate": "shop"}) for _ in range(12))
    )
    assert Counter(answer.status_code for answer in answers) == {202: 3, 402: 9}
    refused = next(answer.json()["error"] for answer in answers if answer.status_code == 402)
    assert (refused["code"], refused["param"]) == ("gate_spending_limit", "gate")
    assert refused["message"] == (
        "the gate shop has a spending limit of $2.00, of which $1.80 is spent or reserved; "
        "this job may cost $0.60"
    )

    # What a job did not use is free again
    first = next(answer.json() for answer in answers if answer.status_code == 202)
    await api.http.post(f"{GENERATIONS}/{first['id']}/cancel")
    await api.submit(gate="shop")
    assert (await refusal(api, gate="shop"))[0] == 402


async def test_the_dearest_model_counts_against_the_limit(api: Api) -> None:
    """4 s cost 0.48 by the first model and 1.60 by the fallback."""
    fields = {"fallback_models": ["runway/veo3.1"], "spending_limit_usd": 1.0}
    await made(api, **fields)
    assert (await refusal(api, gate="shop", duration_seconds=4))[0] == 402


async def test_a_deleted_gates_jobs_go_on(api: Api) -> None:
    gate = await made(api)
    job = await api.submit(gate="shop")
    await api.http.delete(f"{PATH}/shop")

    assert (await api.http.get(f"{GENERATIONS}/{job['id']}")).json()["gate"] == gate["id"]
    assert (await refusal(api, gate="shop"))[0] == 404
