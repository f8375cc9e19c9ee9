"""The client's Celery functions on real brokers: ids, doubles, dead letters, what can be seen."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from pydantic import SecretStr
from redis import Redis

from longtake.celery import MOST_BATCH_BYTES, enqueue, enqueue_batch
from longtake.sealing import sealed
from models.sealing import public_key
from models.vault import Vault
from tests.faults.harness.brokers import NoBroker, RabbitMq
from tests.faults.harness.listening import decoded, watching_like_flower
from tests.integration.broker.test_proof_intake import CANARY, ROOT, House, came_true

PNG = b"\x89PNG\r\n\x1a\n"
REQUEST = {
    "prompt": f"a quiet sea, {CANARY}",
    "model": "gen4.5",
    "image": f"data:image/png;base64,{b64encode(PNG + CANARY.encode()).decode()}",
    "webhook_url": f"https://example.com/?token={CANARY}",
    "webhook_secret": f"whsec-{CANARY}",
    "metadata": {"order": CANARY},
}
GOOD = {"prompt": f"a quiet sea, {CANARY}", "model": "gen4.5"}
NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture(params=["valkey", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest, valkey_url: str) -> Iterator[str]:
    if request.param == "valkey":
        yield valkey_url
        return
    try:
        broker = RabbitMq()
    except NoBroker as missing:
        pytest.skip(str(missing))
    yield broker.url
    broker.close()


@pytest.fixture
def house(database_url: str, broker_url: str, tmp_path: Path) -> House:
    return House(database_url, broker_url, tmp_path)


def job_ids(house: House) -> list[str]:
    return [row["id"] for row in house.rows("SELECT id FROM job ORDER BY id")]


def longtake(house: House, *arguments: str) -> str:
    command = (sys.executable, "-P", "-m", "cli", *arguments)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=house.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_request_is_the_job_that_its_sender_was_told_however_often_it_is_sent(
    house: House, broker_url: str
) -> None:
    with house.worker(), Celery("backend", broker=broker_url, set_as_current=False) as app:
        theirs = [enqueue(broker_url, GOOD, job_id="order-4711") for _ in range(2)]
        ours = enqueue(app, GOOD)
        assert came_true(lambda: house.jobs() == 2)

    assert theirs == ["order-4711"] * 2
    assert job_ids(house) == sorted(["order-4711", ours])
    assert ours.startswith("job_vid_")


def test_what_is_refused_is_kept_and_can_be_retried(house: House, broker_url: str) -> None:
    with house.worker():
        enqueue(broker_url, GOOD, job_id="order-1", tenant="newcomer")
        assert came_true(lambda: len(house.dead_letters()) == 1)
    (letter,) = house.dead_letters()
    assert (letter["job"], letter["param"]) == ("order-1", "tenant")

    refused = longtake(house, "intake", "retry", letter["id"])
    longtake(house, "keys", "create", "--tenant", "newcomer")
    accepted = longtake(house, "intake", "retry", "--all")

    assert "tenant 'newcomer' is unknown" in refused
    assert "1 accepted, 0 refused again" in accepted
    assert job_ids(house) == ["order-1"]
    assert house.dead_letters() == []
    assert "dead letter not found" in longtake(house, "intake", "retry", letter["id"]).lower()


def test_neither_the_sender_nor_the_worker_tells_flower_what_was_asked_for(
    house: House, broker_url: str
) -> None:
    with (
        house.worker(),
        Celery("backend", broker=broker_url, set_as_current=False) as app,
        watching_like_flower(broker_url) as events,
    ):
        app.conf.task_send_sent_event = True
        enqueue(app, GOOD, job_id="good")
        enqueue(app, REQUEST | {"fps": CANARY}, job_id="bad")
        enqueue_batch(app, [GOOD, REQUEST], batch_id="lines", options={"webhook_secret": CANARY})

        def told(kind: str) -> set[str]:
            ids = ("good", "bad", "lines")
            shown = [event["kwargs"] for event in events if event["type"] == kind]
            return {id_ for id_ in ids if any(repr(id_) in each for each in shown)}

        everyone = {"good", "bad", "lines"}
        assert came_true(lambda: told("task-sent") == told("task-received") == everyone)

    assert CANARY not in json.dumps(events, default=repr)
    assert CANARY not in house.log.read_text()
    assert any("gen4.5" in event.get("kwargs", "") for event in events)


def test_only_the_body_of_a_message_holds_the_request(valkey_url: str) -> None:
    """As the documents say: in the clear."""
    enqueue(valkey_url, REQUEST, job_id="order-1", prompt_characters=7)

    with Redis.from_url(valkey_url) as valkey:
        (message,) = [json.loads(each) for each in valkey.lrange("intake", 0, -1)]
    body = message.pop("body")
    shown = message["headers"]["kwargsrepr"]
    assert CANARY not in json.dumps(message)
    assert shown == repr(
        {"model": "gen4.5", "prompt": "a quiet…", "job_id": "order-1", "tenant": "default"}
    )
    assert message["headers"]["argsrepr"] == "()"
    assert body


def test_of_a_sealed_request_the_broker_holds_nothing_that_it_can_read(valkey_url: str) -> None:
    key = public_key(Vault((SecretStr("a-key-that-only-tests-use-0123456789"),)))
    enqueue(valkey_url, REQUEST, job_id="order-1", prompt_characters=7, sealing_key=key)
    enqueue_batch(valkey_url, [REQUEST], batch_id="lines", sealing_key=key)

    with Redis.from_url(valkey_url) as valkey:
        messages = valkey.lrange("intake", 0, -1)
    assert len(messages) == 2
    for message in messages:
        assert CANARY not in decoded(message.decode())
        shown = json.loads(message)["headers"]["kwargsrepr"]
        assert "order-1" in shown or "lines" in shown
        assert "gen4.5" not in shown


def test_sealed_requests_are_taken_in_like_others(house: House, broker_url: str) -> None:
    other = Vault((SecretStr("a-key-that-nobody-has-any-more-012345"),))
    with house.worker():
        key = longtake(house, "intake", "key").strip()
        for _ in range(2):
            enqueue(broker_url, GOOD, job_id="order-1", sealing_key=key)
        enqueue_batch(broker_url, [GOOD, GOOD], batch_id="lines", options={}, sealing_key=key)
        enqueue(broker_url, GOOD, job_id="order-2", sealing_key=public_key(other))
        enqueue(broker_url, REQUEST | {"fps": CANARY}, job_id="order-3", sealing_key=key)
        assert came_true(lambda: house.jobs() == 3)
        assert came_true(lambda: len(house.dead_letters()) == 2)

    reasons = {each["job"]: (each["code"], each["param"]) for each in house.dead_letters()}
    assert reasons == {
        "order-2": ("sealed_not_readable", "sealed"),
        "order-3": ("invalid_request", "fps"),
    }
    assert "order-1" in job_ids(house)
    assert CANARY not in json.dumps(house.dead_letters(), default=str)
    assert CANARY not in house.log.read_text()

    # And a sealed one can be retried
    refused = longtake(house, "intake", "retry", "--all")
    assert "0 accepted, 2 refused again" in refused


def test_a_sealed_request_of_another_message_is_not_opened(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    """Who reads the broker can't have it made as a job of their own."""
    house = House(database_url, valkey_url, tmp_path)
    longtake(house, "keys", "create", "--tenant", "thief")
    with house.worker(), Celery("thief", broker=valkey_url, set_as_current=False) as thief:
        key = longtake(house, "intake", "key").strip()
        text = sealed(
            {"request": GOOD}, key=key, task="video.enqueue", id_="order-1", tenant="default"
        )
        for given in (
            {"sealed": text, "job_id": "order-1", "tenant": "thief"},
            {"sealed": text, "job_id": "mine"},
            {"sealed": text, "job_id": "order-1", "request": GOOD},
            {"sealed": 5, "job_id": "order-1"},
        ):
            thief.send_task("video.enqueue", kwargs=given, queue="intake")
        assert came_true(lambda: len(house.dead_letters()) == 4)

    assert house.jobs() == 0
    codes = sorted(each["code"] for each in house.dead_letters())
    assert codes == ["invalid_request", *["sealed_not_readable"] * 3]


def test_rabbitmq_that_refuses_a_message_is_told_of(request: pytest.FixtureRequest) -> None:
    """Without confirms the call would return, and nobody would ever hear of the request."""
    try:
        broker = RabbitMq()
    except NoBroker as missing:
        pytest.skip(str(missing))
    request.addfinalizer(broker.close)
    vhost = broker.url.rpartition("/")[2]
    subprocess.run(
        (
            *("rabbitmqctl", "--quiet", "set_policy", "-p", vhost, "full", "^intake$"),
            '{"max-length": 1, "overflow": "reject-publish"}',
        ),
        check=True,
        timeout=60,
    )

    # The bound of a replicated queue holds after a few.
    with pytest.raises(OperationalError):
        _ = [enqueue(broker.url, GOOD) for _ in range(10)]


def test_a_broker_that_is_away_is_an_error_and_not_a_wait() -> None:
    with pytest.raises(OperationalError):
        enqueue(NOBODY, GOOD)
    with pytest.raises(OperationalError):
        enqueue("amqp://guest:guest@127.0.0.1:9//", GOOD)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"requests": [], "batch_id": "b"}, "requests has 0 entries"),
    "too many": ({"requests": [GOOD] * 1001, "batch_id": "b"}, "requests has 1001 entries"),
    "too large": (
        {"requests": [GOOD, {"prompt": "é" * (MOST_BATCH_BYTES // 6)}], "batch_id": "b"},
        f"at most {MOST_BATCH_BYTES}",
    ),
    "an id with a space": ({"requests": [GOOD], "batch_id": "a b"}, "batch_id must be text"),
    "a tenant that is none": ({"requests": [GOOD], "batch_id": "b", "tenant": ""}, "tenant must"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_batch_that_no_message_may_hold_is_not_sent(wrong: str) -> None:
    arguments, reason = WRONG[wrong]

    with pytest.raises(ValueError, match=reason):
        enqueue_batch(NOBODY, **arguments)


def test_a_job_id_that_longtake_would_refuse_is_not_sent() -> None:
    with pytest.raises(ValueError, match="job_id must be text"):
        enqueue(NOBODY, GOOD, job_id="")
