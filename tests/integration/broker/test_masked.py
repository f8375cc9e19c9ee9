"""What a worker can't work on is dropped, without a word of what it contains."""

import json
from base64 import b64encode
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis

from tests.faults.harness.listening import inspected, watching_like_flower
from tests.integration.broker.test_proof_intake import CANARY, House, came_true

REQUEST = {
    "prompt": f"a quiet sea, {CANARY}",
    "image": f"https://me:{CANARY}@pictures.example/{CANARY}.png",
    "webhook_url": f"https://hooks.example/{CANARY}",
    "webhook_secret": CANARY,
}
GIVEN = {"request": REQUEST, "job_id": "mine"}
JSON = "application/json"


def raw(
    body: object, *, headers: Any, content_type: str = JSON, encoding: str = "utf-8"
) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "body": b64encode(text.encode()).decode(),
        "content-encoding": encoding,
        "content-type": content_type,
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "intake", "routing_key": "intake"},
            "delivery_tag": str(uuid4()),
        },
    }


def told(task: object, **more: object) -> dict[str, object]:
    """Headers whose sender describes its arguments to the last word."""
    return {"task": task, "id": "t-1", "argsrepr": CANARY, "kwargsrepr": repr(GIVEN), **more}


BODY = [[], GIVEN, {}]
_NEXT = {"task": CANARY, "args": [CANARY], "kwargs": {CANARY: CANARY}, "options": {}}
BEHIND = {"chain": [_NEXT], "callbacks": [_NEXT], "errbacks": [_NEXT], "chord": _NEXT}
MESSAGES = {
    "a task nobody knows": raw(BODY, headers=told("video.enqueu")),
    "a task whose name is a secret": raw(BODY, headers=told(f"https://{CANARY}")),
    "a task that is a list": raw(BODY, headers=told([CANARY])),
    "a task that is none": raw(BODY, headers=told(None)),
    "no id": raw(BODY, headers={"task": "video.enqueue", "kwargsrepr": CANARY}),
    "no headers": raw(GIVEN, headers={}),
    "text instead of headers": raw(CANARY, headers={}),
    "a hint that is no JSON": raw(CANARY, headers=told("video.tick")),
    "a hint that is a number": raw(5, headers=told("video.tick")),
    "a hint that is a list": raw([CANARY], headers=told("video.tick")),
    "a hint of a strange type": raw(BODY, headers=told("video.tick"), content_type="text/x-c"),
    "a hint in a strange encoding": raw(BODY, headers=told("video.tick"), encoding=CANARY),
    "a hint with a request": raw(BODY, headers=told("video.submit")),
    "a hint with a request as its lane": raw(
        [[], {"lane": REQUEST}, {}], headers=told("video.submit")
    ),
    "a hint for a strange time": raw(
        [[], {"lane": "runway"}, {}], headers=told("video.submit", eta=CANARY)
    ),
    "the first protocol": raw(
        {"task": "video.enqueue", "id": "t-2", "args": [], "kwargs": GIVEN}, headers={}
    ),
    "the first protocol, of nobody": raw(
        {"task": f"{CANARY}", "id": "t-3", "args": [CANARY], "kwargs": GIVEN}, headers={}
    ),
    "the first protocol, of another shape": raw(
        {"task": "video.enqueue", "id": "t-4", "args": CANARY, "kwargs": CANARY}, headers={}
    ),
    "the first protocol, cut off": raw({"task": "video.tick", "kwargs": GIVEN}, headers={}),
    "a task of Celery's own": raw([[CANARY], {}, {}], headers=told("celery.chain")),
    "many requests in one": raw(
        [[], {"task": {"task": "video.enqueue"}, "it": [[REQUEST]]}, {}],
        headers=told("celery.starmap"),
    ),
    "many parts of one": raw(
        [[{"task": "video.tick"}, [CANARY], 1], {}, {}], headers=told("celery.chunks")
    ),
    "a tick within a secret": raw([[], {"within": CANARY}, {}], headers=told("video.tick")),
    "a tick within a list": raw([[], {"within": [CANARY]}, {}], headers=told("video.tick")),
    "a lane that is no UTF-8": raw(
        [[], {"lane": f"\ud800{CANARY}"}, {}], headers=told("video.deliver")
    ),
    "a lane that no row can have": raw(
        [[], {"lane": f"\x00{CANARY}"}, {}], headers=told("video.deliver")
    ),
    "an argument that nobody knows": raw([[], {CANARY: 1}, {}], headers=told("video.mark")),
    "a hint with other work behind it": raw([[], {}, BEHIND], headers=told("video.mark")),
    "a hint with other work in its headers": raw(
        [[], {}, {}], headers=told("video.mark", **BEHIND)
    ),
    "a request with other work behind it": raw([[], GIVEN, BEHIND], headers=told("video.enqueue")),
    "a hint under a name of its own": raw([[], {}, {}], headers=told("video.tick", shadow=CANARY)),
    "the first protocol, with other work behind it": raw(
        {"task": "video.mark", "id": "t-5", "args": [], "kwargs": {}, **BEHIND}, headers={}
    ),
}


@pytest.fixture
def house(database_url: str, valkey_url: str, tmp_path: Any) -> House:
    return House(database_url, valkey_url, tmp_path)


def test_messages_that_nobody_can_work_on_are_told_of_without_their_content(
    house: House,
) -> None:
    house.environment["LONGTAKE_LOG_LEVEL"] = "DEBUG"
    with house.worker() as worker, watching_like_flower(house.valkey_url) as events:
        with Redis.from_url(house.valkey_url) as valkey:
            for each in MESSAGES.values():
                valkey.lpush("intake", json.dumps(each))
        assert came_true(house.is_done), "the worker came to a halt"
        running = inspected(house.valkey_url)

        # And the worker goes on
        house.send(request={"prompt": "a fox", "model": "gen4.5"}, job_id="last")
        assert came_true(lambda: any(each["id"] == "last" for each in house.rows("TABLE job")))
        assert worker.poll() is None

    log = house.log.read_text()
    assert CANARY not in log
    assert CANARY not in json.dumps(events, default=repr)
    assert CANARY not in running
    for event in ("unknown_task", "unknown_message", "invalid_message"):
        assert f'"broker.{event}"' in log, f"nothing tells of a message of the kind {event}"
    for task in ("video.enqueu", "celery.starmap"):
        (line,) = (each for each in log.splitlines() if f'"task":"{task}"' in each)
        assert '"broker.unknown_task"' in line


def test_a_sender_that_describes_nothing_is_not_quoted_by_the_worker(house: House) -> None:
    """Its own events, which it sends itself, are its own; Flower hides their content."""
    with house.worker(), watching_like_flower(house.valkey_url) as events:
        with Celery("bare", broker=house.valkey_url, set_as_current=False) as sender:
            sender.send_task("video.enqueue", [REQUEST, "order-1"], queue="intake")
            sender.send_task("video.enqueue", kwargs=GIVEN | {"x": CANARY}, queue="intake")
        assert came_true(lambda: len(house.dead_letters()) == 1)
        assert came_true(lambda: house.jobs() == 1)
        assert came_true(house.is_done)

    assert CANARY not in json.dumps(events, default=repr)
    assert CANARY not in house.log.read_text()
    assert CANARY not in json.dumps(house.dead_letters(), default=str)
