import asyncio
from collections.abc import Sequence

import httpx
import pytest

from simulator.faults import BadFault, Chaos, Do, Fault, Faults, Step, parse_chaos, parse_faults
from simulator.world import World

pytestmark = pytest.mark.anyio

PROVIDERS = ["runway", "luma_agents"]
GOOD = {"provider": "runway", "on": "submit", "do": "hang"}

HEADERS = {"Authorization": "Bearer key_test", "X-Runway-Version": "2024-11-06"}
BODY = {"model": "gen4.5", "promptText": "a cat", "duration": 5, "ratio": "1280:720"}


async def submit(client: httpx.AsyncClient, prompt: str = "a cat") -> httpx.Response:
    body = BODY | {"promptText": prompt}
    return await client.post("/runway/v1/text_to_video", json=body, headers=HEADERS)


async def poll(client: httpx.AsyncClient, task: str) -> httpx.Response:
    return await client.get(f"/runway/v1/tasks/{task}", headers=HEADERS)


async def install(client: httpx.AsyncClient, **fault: object) -> None:
    answer = await client.post("/_sim/faults", json=[{"provider": "runway", **fault}])
    assert answer.status_code == 200, answer.text


def test_a_fault_strikes_once_unless_it_says_otherwise() -> None:
    faults = Faults()
    faults.install(parse_faults([GOOD, {**GOOD, "do": "garbage", "times": 2}], providers=PROVIDERS))

    struck = [faults.take("runway", Step.SUBMIT, prompt="") for _ in range(4)]

    kinds = [fault.do if fault else None for fault in struck]
    assert kinds == [Do.HANG, Do.GARBAGE, Do.GARBAGE, None]
    assert not faults.armed


def test_a_fault_waits_for_its_own_provider_step_and_prompt() -> None:
    faults = Faults()
    faults.install(parse_faults([{**GOOD, "match_prompt": "cat"}], providers=PROVIDERS))

    assert faults.take("luma_agents", Step.SUBMIT, prompt="a cat") is None
    assert faults.take("runway", Step.POLL, prompt="a cat") is None
    assert faults.take("runway", Step.SUBMIT, prompt="a dog") is None
    assert faults.take("runway", Step.SUBMIT, prompt="a cat") is not None


def test_a_fault_of_seconds_strikes_every_request_until_they_are_over() -> None:
    now = [100.0]
    faults = Faults(clock=lambda: now[0])
    lasting = {"provider": "runway", "on": "poll", "do": "status", "status": 404, "seconds": 60}
    faults.install(parse_faults([lasting], providers=PROVIDERS))

    struck = [faults.take("runway", Step.POLL, prompt="") for _ in range(50)]
    now[0] += 59.9
    assert all(struck)
    assert len(faults.pending()) == 1

    now[0] += 0.1
    assert faults.take("runway", Step.POLL, prompt="") is None
    assert not faults.armed
    assert faults.pending() == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "must be a list"),
        ([1], r"\[0\]: 1 is not an object"),
        ([GOOD, GOOD | {"when": 1}], r"\[1\]: unknown when; known are do, match_prompt"),
        ([GOOD | {"provider": "acme"}], r"\[0\].provider: 'acme' is not one of runway, luma_"),
        ([{"on": "submit", "do": "hang"}], r"\[0\].provider: None is not one of"),
        ([GOOD | {"on": "sleep"}], r"\[0\].on: 'sleep' is not one of submit, poll, cancel, down"),
        ([GOOD | {"do": "explode"}], r"\[0\].do: 'explode' is not one of status, drop_after"),
        ([GOOD | {"do": ["hang"]}], r"\[0\].do: \['hang'\] is not one of"),
        ([GOOD | {"do": "status"}], r"\[0\].status: None is not a whole number"),
        ([GOOD | {"do": "status", "status": 200}], r"\[0\].status: 200 is not from 400 to 599"),
        ([GOOD | {"status": 500}], r"\[0\].status: only allowed with do 'status', not 'hang'"),
        ([GOOD | {"retry_after": 3}], r"\[0\].retry_after: only allowed with do 'status'"),
        (
            [GOOD | {"do": "status", "status": 429, "retry_after": -1}],
            r"\[0\].retry_after: -1 is not seconds",
        ),
        ([GOOD | {"times": 0}], r"\[0\].times: 0 is not 1 or more"),
        ([GOOD | {"times": True}], r"\[0\].times: True is not a whole number"),
        ([GOOD | {"seconds": 0}], r"\[0\].seconds: 0 is not a number above 0"),
        ([GOOD | {"seconds": 5, "times": 2}], r"\[0\].seconds: does not go with times"),
        (
            [GOOD | {"on": "poll", "do": "fail"}],
            r"\[0\].do: 'fail' only goes with on 'submit', not 'poll'",
        ),
        ([GOOD | {"do": "shift"}], r"\[0\].do: 'shift' only goes with on 'list', not 'submit'"),
        ([GOOD | {"on": "callback"}], r"\[0\].do: on 'callback' only goes with do 'drop_before"),
        ([GOOD | {"match_prompt": 7}], r"\[0\].match_prompt: 7 is not text"),
    ],
)
def test_a_fault_that_cannot_be_meant_is_refused_with_the_reason(raw: object, message: str) -> None:
    with pytest.raises(BadFault, match=message):
        parse_faults(raw, providers=PROVIDERS)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"seed": 1, "rate": 2, "do": ["hang"]}, "^rate: 2 is not a number from 0 to 1"),
        ({"seed": "x", "rate": 0.5, "do": ["hang"]}, "^seed: 'x' is not a whole number"),
        ({"seed": 1, "rate": 0.5, "do": []}, r"^do: \[\] is not a list of one or more"),
        ({"seed": 1, "rate": 0.5, "do": ["explode"]}, "^do: 'explode' is not one of"),
    ],
)
def test_chaos_that_cannot_be_meant_is_refused_with_the_reason(raw: object, message: str) -> None:
    with pytest.raises(BadFault, match=message):
        parse_chaos(raw)


def strikes(seed: int, *, rate: float) -> Sequence[Fault | None]:
    chaos = Chaos(seed=seed, rate=rate, do=[Do.STATUS, Do.HANG])
    return [chaos.strike("runway", Step.POLL) for _ in range(200)]


def test_chaos_of_the_same_seed_strikes_alike_and_about_as_often_as_asked() -> None:
    assert strikes(7, rate=0.3) == strikes(7, rate=0.3)
    assert strikes(7, rate=0.3) != strikes(8, rate=0.3)
    assert 30 < sum(fault is not None for fault in strikes(7, rate=0.3)) < 90
    assert not any(strikes(7, rate=0))


async def test_bad_faults_are_answered_with_400_and_none_is_installed(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/_sim/faults", json=[GOOD, GOOD | {"on": "sleep"}])

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("[1].on: 'sleep' is not one of")
    assert (await client.get("/_sim/faults")).json() == {"data": []}
    assert (await client.post("/_sim/faults", content=b"{")).status_code == 400


async def test_installed_faults_are_listed_with_their_strikes_left(
    client: httpx.AsyncClient,
) -> None:
    await install(client, on="submit", do="status", status=500, times=3)
    await submit(client)

    listed = (await client.get("/_sim/faults")).json()["data"]

    assert listed == [
        {"provider": "runway", "on": "submit", "do": "status", "status": 500, "times": 2}
    ]
    await client.delete("/_sim/faults")
    assert (await submit(client)).status_code == 200


async def test_a_fault_of_seconds_is_listed_without_strikes(client: httpx.AsyncClient) -> None:
    fault = {"provider": "runway", "on": "download", "do": "status", "status": 503, "seconds": 60}
    answer = await client.post("/_sim/faults", json=[fault])

    assert answer.json()["data"] == [fault]


async def test_a_status_refuses_in_the_vendors_shape_and_bills_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    await install(client, on="submit", do="status", status=429, retry_after=7)

    answer = await submit(client)

    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "7"
    assert answer.json() == {"error": "Simulated fault 429."}
    assert world.bill.rows() == []
    assert (await submit(client)).status_code == 200


async def test_a_drop_before_acceptance_answers_nothing_and_bills_nothing(
    client: httpx.AsyncClient, world: World
) -> None:
    await install(client, on="submit", do="drop_before_accept")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await submit(client)

    assert world.bill.rows() == []
    assert (await submit(client)).status_code == 200


async def test_a_drop_after_acceptance_answers_nothing_but_bills(
    client: httpx.AsyncClient, world: World
) -> None:
    await install(client, on="submit", do="drop_after_accept")

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await submit(client)

    (row,) = world.bill.rows()
    assert row["operation_id"] == next(iter(world.operations)).id


async def test_a_hang_bills_and_ends_when_the_client_leaves(
    client: httpx.AsyncClient, world: World
) -> None:
    await install(client, on="submit", do="hang")

    with pytest.raises(httpx.ReadTimeout):
        await client.post(
            "/runway/v1/text_to_video",
            json=BODY,
            headers=HEADERS,
            timeout=httpx.Timeout(5, read=0.2),
        )

    assert len(world.bill.rows()) == 1
    connections = [task for task in asyncio.all_tasks() if "RequestHandler.start" in repr(task)]
    if connections:
        _, hanging = await asyncio.wait(connections, timeout=5)
        assert not hanging


async def test_garbage_is_billed_and_answered_with_200_that_is_not_json(
    client: httpx.AsyncClient, world: World
) -> None:
    await install(client, on="submit", do="garbage")

    answer = await submit(client)

    assert answer.status_code == 200
    with pytest.raises(ValueError, match="decode"):
        answer.json()
    assert len(world.bill.rows()) == 1


async def test_a_fault_finds_the_prompt_of_a_polled_and_of_a_cancelled_task(
    client: httpx.AsyncClient,
) -> None:
    cat, dog = [(await submit(client, prompt)).json()["id"] for prompt in ("a cat", "a dog")]
    await install(client, on="poll", do="status", status=503, match_prompt="dog")
    await install(client, on="cancel", do="status", status=502, match_prompt="dog")

    assert (await poll(client, cat)).status_code == 200
    assert (await poll(client, dog)).status_code == 503
    assert (await poll(client, dog)).status_code == 200
    url = "/runway/v1/tasks/"
    assert (await client.delete(url + cat, headers=HEADERS)).status_code == 204
    assert (await client.delete(url + dog, headers=HEADERS)).status_code == 502


async def test_chaos_strikes_until_it_is_ended_and_never_the_control_routes(
    client: httpx.AsyncClient,
) -> None:
    body = {"seed": 1, "rate": 1, "do": ["status"]}
    assert (await client.post("/_sim/chaos", json=body)).json() == body

    assert {(await submit(client)).status_code for _ in range(40)} == {429, 500, 502, 503}
    assert (await client.get("/_sim/health")).status_code == 200

    await client.delete("/_sim/chaos")
    assert (await submit(client)).status_code == 200
