import httpx
import pytest

from simulator.bill import LONGEST_TEXT, Bill, truncated
from simulator.world import World

pytestmark = pytest.mark.anyio

BODY = {"type": "video", "prompt": "a cat", "model": "ray-3.2"}


async def submit(client: httpx.AsyncClient, **changes: object) -> httpx.Response:
    headers = {"Authorization": "Bearer luma-secret-key", "X-Request-Id": "r-1", "Cookie": "a=b"}
    return await client.post("/luma-agents/v1/generations", json=BODY | changes, headers=headers)


async def test_every_accepted_post_is_one_row_with_what_was_sent(client: httpx.AsyncClient) -> None:
    generation = (await submit(client)).json()["id"]

    (row,) = (await client.get("/_sim/bill")).json()["data"]

    assert set(row) == {"provider", "operation_id", "at", "path", "headers", "body"}
    assert row["provider"] == "luma_agents"
    assert row["operation_id"] == generation
    assert row["at"].endswith("+00:00")
    assert row["path"] == "/luma-agents/v1/generations"
    assert row["body"] == BODY
    assert row["headers"]["x-request-id"] == "r-1"


async def test_the_bill_holds_no_credentials(client: httpx.AsyncClient) -> None:
    await submit(client)

    bill = (await client.get("/_sim/bill")).text

    assert "secret" not in bill
    assert "cookie" not in bill


@pytest.mark.parametrize(
    "name", ["Authorization", "X-Goog-Api-Key", "Cookie", "X-API-Key", "Proxy-Authorization"]
)
def test_no_header_that_proves_who_somebody_is_gets_onto_the_bill(name: str) -> None:
    bill = Bill()

    bill.add("vendor", "op", path="/", headers={name: "secret", "Accept": "*/*"}, body={})

    assert bill.rows()[0]["headers"] == {"accept": "*/*"}


async def test_a_refused_post_costs_nothing(client: httpx.AsyncClient, world: World) -> None:
    assert (await submit(client, prompt="")).status_code == 422
    assert (await submit(client, prompt="[sim:explode]")).status_code == 400

    assert world.bill.rows() == []


async def test_a_reset_forgets_the_bill_and_the_operations(client: httpx.AsyncClient) -> None:
    await submit(client)

    await client.post("/_sim/reset")

    assert (await client.get("/_sim/bill")).json() == {"data": []}
    assert (await client.get("/_sim/polls")).json() == {"data": []}


def test_an_inlined_picture_is_cut_and_a_prompt_is_not() -> None:
    picture = "data:image/png;base64," + "A" * LONGEST_TEXT

    body = truncated({"prompt": "p" * LONGEST_TEXT, "images": [{"uri": picture}]})

    assert body["prompt"] == "p" * LONGEST_TEXT
    assert len(str(body["images"])) < 200
