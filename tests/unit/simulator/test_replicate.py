from typing import Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer r8_test"}
VEO = "google/veo-3.1-fast"
KLING = "kwaivgi/kling-v2.1"
TURBO = "kwaivgi/kling-v2.5-turbo-pro"
PREDICTIONS = "/replicate/v1/predictions"
LONG_ENOUGH = 100.0
AN_HOUR = 3_601.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def create(
    client: httpx.AsyncClient, given: object, *, model: str = VEO, **members: object
) -> httpx.Response:
    url = f"/replicate/v1/models/{model}/predictions"
    return await client.post(url, json={"input": given, **members}, headers=HEADERS)


async def created(client: httpx.AsyncClient, prompt: str = "a cat") -> str:
    answer = await create(client, {"prompt": prompt})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def look(client: httpx.AsyncClient, prediction: str) -> dict[str, object]:
    answer = await client.get(f"{PREDICTIONS}/{prediction}", headers=HEADERS)
    shown: dict[str, object] = answer.json()
    return shown


async def test_a_prediction_starts_runs_and_succeeds(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    prediction = await created(client)
    assert (await look(client, prediction))["status"] == "starting"

    clock.advance(21)
    assert (await look(client, prediction))["status"] == "processing"

    clock.advance(LONG_ENOUGH)
    done = await look(client, prediction)
    assert done["status"] == "succeeded"
    assert str(done["output"]).startswith(str(client.base_url.join("/replicate/download/")))


async def test_after_an_hour_the_result_is_removed(client: httpx.AsyncClient, clock: Clock) -> None:
    prediction = await created(client)
    clock.advance(LONG_ENOUGH)
    link = str((await look(client, prediction))["output"])

    clock.advance(AN_HOUR)

    removed = await look(client, prediction)
    assert (removed["status"], removed["output"], removed["input"]) == ("succeeded", None, {})
    assert removed["data_removed"] is True
    assert (await client.get(link)).status_code == 403


async def test_the_listing_has_the_newest_first(client: httpx.AsyncClient) -> None:
    ids = [await created(client, prompt=f"a cat {number}") for number in range(101)]

    page = (await client.get(PREDICTIONS, headers=HEADERS)).json()
    assert [row["id"] for row in page["results"]] == ids[:0:-1]
    assert page["previous"] is None

    last = (await client.get(page["next"], headers=HEADERS)).json()
    assert [row["id"] for row in last["results"]] == ids[:1]
    assert last["next"] is None


@pytest.mark.parametrize(
    ("model", "given", "field"),
    [
        (VEO, {}, "input.prompt"),
        (VEO, None, "input.prompt"),
        (VEO, {"prompt": 7}, "input.prompt"),
        (VEO, {"prompt": "a", "mode": "pro"}, "input"),
        (VEO, {"prompt": "a", "duration": 5}, "input.duration"),
        (VEO, {"prompt": "a", "duration": [4]}, "input.duration"),
        (VEO, {"prompt": "a", "resolution": "4k"}, "input.resolution"),
        (VEO, {"prompt": "a", "seed": "7"}, "input.seed"),
        (VEO, {"prompt": "a", "seed": True}, "input.seed"),
        (VEO, {"prompt": "a", "generate_audio": 1}, "input.generate_audio"),
        (KLING, {"prompt": "a"}, "input.start_image"),
        (KLING, {"prompt": "a", "start_image": "b", "seed": 7}, "input"),
        (
            KLING,
            {"prompt": "a", "start_image": "b", "end_image": "c", "mode": "standard"},
            "input.end_image",
        ),
        (TURBO, {"prompt": "a", "mode": "pro"}, "input"),
        (TURBO, {"prompt": "a", "end_image": "c"}, "input"),
    ],
)
async def test_a_wrong_input_is_422_with_the_field_named(
    client: httpx.AsyncClient, model: str, given: object, field: str
) -> None:
    answer = await create(client, given, model=model)

    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["title"], problem["status"]) == ("Input validation failed", 422)
    assert problem["invalid_fields"][0]["field"] == field
    assert (await client.get("/_sim/bill")).json()["data"] == []


@pytest.mark.parametrize("events", ["start", [7], [["start"]], ["done"]])
async def test_only_known_events_can_be_asked_for(
    client: httpx.AsyncClient, events: object
) -> None:
    answer = await create(client, {"prompt": "a"}, webhook_events_filter=events)
    assert answer.status_code == 422
    assert (await client.get("/_sim/bill")).json()["data"] == []


async def test_a_cancel_stops_what_runs_and_leaves_what_has_ended(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    never, done = await created(client, "[sim:never] a cat"), await created(client)
    clock.advance(LONG_ENOUGH)

    words = [
        (await client.post(f"{PREDICTIONS}/{one}/cancel", headers=HEADERS)).json()["status"]
        for one in (never, done)
    ]

    assert words == ["canceled", "succeeded"]
    gone = await client.post(f"{PREDICTIONS}/nothing/cancel", headers=HEADERS)
    assert gone.status_code == 404


async def test_a_fault_finds_the_prompt_inside_the_input(client: httpx.AsyncClient) -> None:
    fault = {"provider": "replicate", "on": "submit", "do": "status", "status": 402}
    await client.post("/_sim/faults", json=[fault | {"match_prompt": "dog"}])

    assert (await create(client, {"prompt": "a cat"})).status_code == 201
    struck = await create(client, {"prompt": "a dog"})
    assert (struck.status_code, struck.json()["title"]) == (402, "Insufficient credit")


@pytest.mark.parametrize("header", ["", "r8_test", "Bearer test"])
async def test_a_token_is_needed(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get(PREDICTIONS, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["title"] == "Unauthenticated"
