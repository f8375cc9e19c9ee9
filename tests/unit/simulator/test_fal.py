from typing import Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Key id:secret"}
URL = "/fal/fal-ai/pika/v2.2/text-to-video"
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def submit(client: httpx.AsyncClient, **changes: object) -> httpx.Response:
    return await client.post(URL, json={"prompt": "a cat"} | changes, headers=HEADERS)


async def place(client: httpx.AsyncClient, **changes: object) -> str:
    """The address of a new request."""
    return str((await submit(client, **changes)).json()["response_url"])


async def look(client: httpx.AsyncClient, url: str) -> httpx.Response:
    return await client.get(url, headers=HEADERS)


async def test_a_request_is_queued_then_runs_then_is_completed(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    url = await place(client)
    queued = await look(client, f"{url}/status")
    assert (queued.status_code, queued.json()["status"]) == (202, "IN_QUEUE")
    assert queued.json()["queue_position"] == 0

    clock.advance(21)
    running = await look(client, f"{url}/status?logs=1")
    assert (running.status_code, running.json()["status"]) == (202, "IN_PROGRESS")
    assert running.json()["logs"] == []

    clock.advance(LONG_ENOUGH)
    completed = await look(client, f"{url}/status")
    assert (completed.status_code, completed.json()["status"]) == (200, "COMPLETED")
    assert completed.json()["metrics"]["inference_time"] > 0
    assert "error" not in completed.json()


async def test_the_addresses_have_the_app_and_not_the_models_endpoint(
    client: httpx.AsyncClient,
) -> None:
    taken = (await submit(client)).json()
    url = str(client.base_url.join(f"/fal/fal-ai/pika/requests/{taken['request_id']}"))
    assert taken["response_url"] == url
    assert taken["status_url"] == f"{url}/status"
    assert taken["cancel_url"] == f"{url}/cancel"

    wrong = await look(client, f"{URL}/requests/{taken['request_id']}/status")
    assert wrong.status_code == 404


async def test_beyond_the_accounts_concurrency_requests_wait_in_the_queue(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    *_, third = [await place(client, prompt=f"a cat {number}") for number in range(3)]
    clock.advance(21)
    held = (await look(client, f"{third}/status")).json()
    assert (held["status"], held["queue_position"]) == ("IN_QUEUE", 1)


async def test_a_result_that_is_not_there_yet_is_an_error(client: httpx.AsyncClient) -> None:
    answer = await look(client, await place(client))
    assert answer.status_code == 400
    assert set(answer.json()) == {"detail"}


async def test_a_moderated_request_is_completed_and_only_its_result_says_so(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    url = await place(client, prompt="[sim:moderate] a cat")
    clock.advance(LONG_ENOUGH)

    status, result = await look(client, f"{url}/status"), await look(client, url)

    assert status.status_code == 200
    assert not {"error", "error_type"} & set(status.json())
    assert result.status_code == 422
    assert result.headers["X-Fal-Retryable"] == "false"
    assert result.json()["detail"][0]["type"] == "content_policy_violation"


async def test_a_failed_request_says_so_in_its_status_and_in_its_result(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    url = await place(client, prompt="[sim:fail] a cat")
    clock.advance(LONG_ENOUGH)

    assert (await look(client, f"{url}/status")).json()["error_type"] == "runner_server_error"
    assert (await look(client, url)).status_code == 500


@pytest.mark.parametrize(
    ("endpoint", "body", "where"),
    [
        ("text-to-video", {}, "prompt"),
        ("text-to-video", {"prompt": 7}, "prompt"),
        ("text-to-video", {"prompt": "a", "aspect_ratio": "21:9"}, "aspect_ratio"),
        ("text-to-video", {"prompt": "a", "aspect_ratio": ["16:9"]}, "aspect_ratio"),
        ("text-to-video", {"prompt": "a", "resolution": "4k"}, "resolution"),
        ("text-to-video", {"prompt": "a", "duration": 7}, "duration"),
        ("image-to-video", {"prompt": "a"}, "image_url"),
        ("image-to-video", {"prompt": "a", "image_url": {}}, "image_url"),
        ("pikaframes", {"prompt": "a"}, "image_urls"),
        ("pikaframes", {"image_urls": ["a"]}, "image_urls"),
        ("pikaframes", {"image_urls": ["a", "b"], "transitions": []}, "transitions"),
        ("pikaframes", {"image_urls": ["a", "b"], "transitions": [7]}, "transitions"),
        (
            "pikaframes",
            {"image_urls": ["a", "b"], "transitions": [{"duration": 26}]},
            "transitions",
        ),
    ],
)
async def test_a_wrong_input_is_taken_and_fails_when_it_would_run(
    client: httpx.AsyncClient, clock: Clock, endpoint: str, body: dict[str, object], where: str
) -> None:
    taken = await client.post(f"/fal/fal-ai/pika/v2.2/{endpoint}", json=body, headers=HEADERS)
    assert taken.status_code == 200
    clock.advance(LONG_ENOUGH)

    answer = await look(client, taken.json()["response_url"])

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", where]


async def test_a_cancelled_request_frees_its_place_in_the_queue(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    first, _, third = [await place(client, prompt=f"a cat {number}") for number in range(3)]
    answer = await client.put(f"{first}/cancel", headers=HEADERS)
    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert (await look(client, f"{first}/status")).status_code == 404

    clock.advance(21)
    assert (await look(client, f"{third}/status")).json()["status"] == "IN_PROGRESS"

    clock.advance(LONG_ENOUGH)
    late = await client.put(f"{third}/cancel", headers=HEADERS)
    assert (late.status_code, late.json()) == (400, {"status": "ALREADY_COMPLETED"})
    gone = await client.put(f"{first}/cancel", headers=HEADERS)
    assert (gone.status_code, gone.json()) == (404, {"status": "NOT_FOUND"})


@pytest.mark.parametrize("header", ["", "Bearer id:secret", "Key secret", "Key"])
async def test_the_key_is_a_pair_after_the_word_key(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.post(URL, json={"prompt": "a"}, headers={"Authorization": header})
    assert answer.status_code == 401
    assert set(answer.json()) == {"detail"}
