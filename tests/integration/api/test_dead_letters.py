"""A tenant sees its dead letters and retries them: each makes its one job, or names why not."""

import asyncio
from typing import Any

import pytest

from longtake.sealing import sealed
from models.failure import RequestRefused
from models.limits import set_limits
from models.rows.limits import Holder
from tasks.forms import ENQUEUE_BATCH, MOST_KEPT, UNREADABLE
from tasks.letters import Letter, retry, take_in
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio

FOX = {"prompt": "a fox in fresh snow"}


def letter(task_id: str = "t-1", **kwargs: Any) -> Letter:
    return Letter(task_id=task_id, args=(), kwargs={"tenant": "acme"} | kwargs)


async def dead(api: Api, **given: Any) -> dict[str, Any]:
    """The newest dead letter, of a message that was just refused."""
    assert await take_in(api.front.engine, letter(**given)) is None
    return (await listed(api))[0]


async def listed(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = await api.http.get("/v1/intake/failed", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def retried(api: Api, id_: str) -> tuple[int, dict[str, Any]]:
    answer = await api.http.post(f"/v1/intake/failed/{id_}/retry")
    return answer.status_code, answer.json()


async def limit(api: Api, concurrent: int) -> None:
    await api.front.engine.database.run(
        lambda c: set_limits(c, Holder.TENANT, "acme", changes={"concurrent": concurrent})
    )


async def no_room(api: Api) -> str:
    """The tenant's one allowed job, which goes on."""
    await limit(api, 1)
    running = await api.submit()
    return str(running["id"])


async def jobs(api: Api) -> list[str]:
    return [row["id"] for row in await api.fetch("SELECT id FROM job ORDER BY id")]


async def test_a_tenant_sees_its_own_without_what_was_sent(api: Api) -> None:
    await take_in(api.front.engine, Letter(task_id="other", args=(), kwargs={"request": {}}))
    one = await dead(api, request=FOX | {"fps": "secret-of-its-sender"}, job_id="mine")

    assert await listed(api) == [one]
    assert one == {
        "id": one["id"],
        "object": "intake.failure",
        "task": "video.enqueue",
        "task_id": "t-1",
        "job_id": "mine",
        "batch_id": None,
        "error": {
            "code": "invalid_request",
            "message": "fps should be a valid integer",
            "param": "fps",
        },
        "line": None,
        "is_kept": True,
        "created_at": one["created_at"],
    }


async def test_they_come_in_pages(api: Api) -> None:
    for number in range(3):
        await dead(api, task_id=f"t-{number}", request={})

    first = (await api.http.get("/v1/intake/failed?limit=2")).json()
    rest = (await api.http.get(f"/v1/intake/failed?after={first['next']}")).json()

    assert [one["task_id"] for one in first["data"] + rest["data"]] == ["t-2", "t-1", "t-0"]
    assert (first["has_more"], rest["has_more"], rest["next"]) == (True, False, None)


@pytest.mark.parametrize("job_id", ["mine", None])
async def test_what_is_accepted_leaves_the_list_and_has_the_id_it_was_to_have(
    api: Api, job_id: str | None
) -> None:
    running = await no_room(api)
    one = await dead(api, task_id="\x00 strange", request=FOX, job_id=job_id)
    assert one["error"]["code"] == "concurrent_limit"
    await limit(api, 2)

    status, made = await retried(api, one["id"])

    assert (status, made["job_id"], made["batch_id"]) == (202, one["job_id"], None)
    assert await jobs(api) == sorted([running, one["job_id"]])
    assert await listed(api) == []
    assert (await retried(api, one["id"]))[0] == 404
    assert api.hints.sent


async def test_its_letter_goes_with_the_transaction_that_makes_its_job(api: Api) -> None:
    """Neither both nor none of them is ever committed."""
    running = await no_room(api)
    one = await dead(api, request=FOX, job_id="mine")
    await limit(api, 2)
    await api.fetch(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'XX000'; END $$"
    )
    await api.fetch(
        "CREATE TRIGGER refuse BEFORE DELETE ON intake_failure EXECUTE FUNCTION refuse()"
    )

    assert (await retried(api, one["id"]))[0] >= 500

    assert await jobs(api) == [running]
    assert [each["id"] for each in await listed(api)] == [one["id"]]


async def test_another_message_with_the_same_job_id_clears_the_letter_too(api: Api) -> None:
    one = await dead(api, request={}, job_id="mine")
    made = await take_in(api.front.engine, letter("t-2", request=FOX, job_id="mine"))

    assert made is not None
    assert await listed(api) == []
    assert (await retried(api, one["id"]))[0] == 404


async def test_two_at_once_make_one_job(api: Api) -> None:
    running = await no_room(api)
    one = await dead(api, request=FOX)
    await limit(api, 9)

    answers = await asyncio.gather(*(retried(api, one["id"]) for _ in range(5)))

    assert {status for status, _ in answers} <= {202, 404}
    assert {made["job_id"] for status, made in answers if status == 202} == {one["job_id"]}
    assert await jobs(api) == sorted([running, one["job_id"]])
    assert await listed(api) == []


async def test_a_refusal_is_the_answer_and_the_letters_newest_reason(api: Api) -> None:
    one = await dead(api, request=FOX | {"model": "gone"})
    assert one["error"]["param"] == "model"
    await api.front.engine.database.run(
        lambda c: c.execute("UPDATE intake_failure SET code = 'an_old_one', line = 3")
    )

    status, answer = await retried(api, one["id"])

    assert (status, answer["error"]["param"]) == (400, "model")
    (again,) = await listed(api)
    assert (again["error"], again["line"]) == (one["error"], None)
    assert (again["id"], again["created_at"]) == (one["id"], one["created_at"])


async def test_unknown_and_foreign_ones_are_not_found(api: Api) -> None:
    one = await dead(api, request={})
    key = await api.new_key("another")
    foreign = await api.http.post(
        f"/v1/intake/failed/{one['id']}/retry", headers={"Authorization": f"Bearer {key}"}
    )

    assert (await retried(api, "inf_unknown"))[0] == 404
    assert (await retried(api, "%00"))[0] == 404
    assert foreign.status_code == 404
    assert [each["id"] for each in await listed(api)] == [one["id"]]


async def test_what_was_not_kept_says_so(api: Api) -> None:
    one = await dead(api, request=FOX | {"prompt": "a" * (MOST_KEPT + 1)})
    assert one["is_kept"] is False

    status, answer = await retried(api, one["id"])

    assert (status, answer["error"]["code"]) == (409, "payload_not_kept")
    assert str(MOST_KEPT) in answer["error"]["message"]


async def test_what_could_not_be_read_can_not_be_read_later(api: Api) -> None:
    engine = api.front.engine
    broken = {UNREADABLE: "its body is not JSON", "_raw": "e30="}
    assert await take_in(engine, Letter(task_id="t-1", args=(), kwargs=broken)) is None
    (row,) = await api.fetch("SELECT * FROM intake_failure")
    id_, message = row["id"], row["message"]
    assert row["tenant"] is None

    with pytest.raises(RequestRefused) as caught:
        await retry(engine, id_, tenant=None)

    assert (caught.value.code, caught.value.message) == ("unreadable_message", message)


WRONG: dict[str, tuple[dict[str, Any], str | None]] = {
    "without requests": ({"batch_id": "b-1"}, "requests"),
    "without an id": ({"requests": [FOX]}, "batch_id"),
    "an id that is a number": ({"requests": [FOX], "batch_id": 7}, "batch_id"),
    "requests that are text": ({"requests": "x", "batch_id": "b-1"}, "requests"),
    "no request": ({"requests": [], "batch_id": "b-1"}, "requests"),
    "too many": ({"requests": [FOX] * 1001, "batch_id": "b-1"}, "requests"),
    "options that are a list": ({"requests": [FOX], "batch_id": "b", "options": []}, "options"),
    "an argument nobody knows": ({"requests": [FOX], "batch_id": "b-1", "job_id": "a"}, "job_id"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_batch_that_is_none_is_a_dead_letter(api: Api, wrong: str) -> None:
    kwargs, param = WRONG[wrong]
    sent = Letter(form=ENQUEUE_BATCH, task_id="t-1", args=(), kwargs=kwargs | {"tenant": "acme"})

    assert await take_in(api.front.engine, sent) is None

    (one,) = await listed(api)
    assert (one["task"], one["error"]["param"]) == ("video.enqueue_batch", param)
    assert one["job_id"] is None


async def test_two_messages_with_one_task_id_are_two_letters(api: Api) -> None:
    bad = FOX | {"fps": "x"}

    for job_id in ("one", "two", "one"):
        message = letter(task_id="same", request=bad, job_id=job_id)
        assert await take_in(api.front.engine, message) is None

    assert [each["job_id"] for each in await listed(api)] == ["two", "one"]


async def test_a_letter_of_no_known_tenant_is_kept_once(api: Api) -> None:
    for _ in range(2):
        message = letter(task_id="same", request=FOX, tenant="no name")
        assert await take_in(api.front.engine, message) is None

    assert len(await api.fetch("SELECT id FROM intake_failure")) == 1


async def test_a_letter_that_no_key_opens_says_so(api: Api) -> None:
    one = await dead(api, request=FOX | {"fps": "x"})
    await api.fetch("UPDATE intake_failure SET payload = %s RETURNING id", b"garbage")

    status, answer = await retried(api, one["id"])

    assert (status, answer["error"]["code"]) == (409, "payload_not_readable")
    assert "LONGTAKE_SECRET_KEYS" in answer["error"]["message"]


async def test_the_sealing_key_is_the_one_that_workers_open_with(api: Api) -> None:
    answer = await api.http.get("/v1/intake/key")
    assert answer.status_code == 200, answer.text
    assert answer.json()["object"] == "intake.sealing_key"

    content = {"request": FOX}
    text = sealed(
        content, key=answer.json()["key"], task="video.enqueue", id_="mine", tenant="acme"
    )
    made = await take_in(api.front.engine, letter(sealed=text, job_id="mine"))

    assert made is not None
    assert await jobs(api) == ["mine"]


async def test_a_sealed_dead_letter_is_kept_and_refused_without_its_content(api: Api) -> None:
    key = (await api.http.get("/v1/intake/key")).json()["key"]
    content = {"request": FOX | {"fps": "secret-of-its-sender"}}
    text = sealed(content, key=key, task="video.enqueue", id_="mine", tenant="acme")

    one = await dead(api, sealed=text, job_id="mine")

    assert (one["error"]["param"], one["is_kept"]) == ("fps", True)
    assert "secret-of-its-sender" not in str(one)
    status, refused = await retried(api, one["id"])
    assert status == 400
    assert "fps" in str(refused)
    other = await dead(api, sealed=text, job_id="another")
    assert other["error"]["code"] == "sealed_not_readable"
