import httpx
import pytest

from tests.unit.simulator.conftest import Clock

pytestmark = pytest.mark.anyio


async def test_the_environment_points_at_the_server_as_it_was_reached(
    client: httpx.AsyncClient,
) -> None:
    variables = (await client.get("/_sim/env")).json()

    assert variables["RUNWAYML_BASE_URL"] == str(client.base_url.join("/runway"))
    assert variables["LUMA_BASE_URL"].endswith("/luma-agents/v1")
    assert variables["RUNWAYML_API_SECRET"].startswith("key_")
    assert all(isinstance(value, str) and value for value in variables.values())


async def test_behind_another_name_the_environment_uses_that_name(
    client: httpx.AsyncClient,
) -> None:
    variables = (await client.get("/_sim/env", headers={"Host": "simulator:8100"})).json()

    assert variables["RUNWAYML_BASE_URL"] == "http://simulator:8100/runway"


async def test_polls_are_counted_per_operation(client: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Bearer luma-test-key"}
    url = "/luma-agents/v1/generations"
    answer = await client.post(url, json={"type": "video", "prompt": "a"}, headers=headers)
    generation = answer.json()["id"]

    for _ in range(3):
        await client.get(f"{url}/{generation}", headers=headers)

    assert (await client.get("/_sim/polls")).json()["data"] == [
        {"provider": "luma_agents", "operation_id": generation, "polls": 3, "ended_at": None}
    ]


async def test_an_operation_tells_when_it_ended(client: httpx.AsyncClient, clock: Clock) -> None:
    headers = {"Authorization": "Bearer luma-test-key"}
    body = {"type": "video", "prompt": "a"}
    await client.post("/luma-agents/v1/generations", json=body, headers=headers)

    accepted_at = clock.now
    clock.advance(10_000)

    (row,) = (await client.get("/_sim/polls")).json()["data"]
    clock.advance(10_000)
    assert (await client.get("/_sim/polls")).json()["data"] == [row]
    assert accepted_at < row["ended_at"] < accepted_at + 10_000


async def test_operations_tell_what_became_of_them(client: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Bearer luma-test-key"}
    url = "/luma-agents/v1/generations"
    answer = await client.post(url, json={"type": "video", "prompt": "a"}, headers=headers)

    assert (await client.get("/_sim/operations")).json()["data"] == [
        {"provider": "luma_agents", "operation_id": answer.json()["id"], "phase": "queued"}
    ]


async def test_health_names_the_providers(client: httpx.AsyncClient) -> None:
    health = (await client.get("/_sim/health")).json()

    assert health["status"] == "ok"
    assert {"runway", "luma_agents"} <= set(health["providers"])
