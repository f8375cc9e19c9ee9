"""A message that goes back to the broker is never lost, and one that can't be read is readable."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from kombu import Message

from api.body import MAX_BODY
from tasks import discreet
from tasks.discreet import DiscreetRequest
from tasks.enqueue import WAIT
from tasks.forms import ENQUEUE, ENQUEUE_BATCH, RAW, UNREADABLE
from tasks.letters import BOUND, job_id_of
from tasks.queue import REDELIVERY

BODY = json.dumps([[], {"request": {"prompt": "a fox"}, "job_id": "mine"}, {}])


class Publisher:
    """Stands in for the app's pool of producers."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.sent: list[tuple[Any, dict[str, Any]]] = []

    @contextmanager
    def acquire(self, **_: Any) -> Iterator["Publisher"]:
        yield self

    def publish(self, body: Any, **options: Any) -> None:
        if self.fails:
            raise ConnectionError
        self.sent.append((body, options))


class Given(DiscreetRequest):
    """A request that remembers how its message was answered."""

    def __init__(self, message: Message, app: Celery) -> None:
        self.answers = list[str]()
        super().__init__(
            message,
            app=app,
            task=app.tasks["video.enqueue"],
            on_ack=lambda *_: self.answers.append("acknowledged"),
            on_reject=lambda *args: self.answers.append(f"requeued={args[-1]}"),
        )


@pytest.fixture
def app() -> Celery:
    app = Celery("longtake-discreet-test", set_as_current=False)

    @app.task(name="video.enqueue", shared=False)
    def enqueue() -> None:
        """Never called."""

    return app


def message(body: str = BODY, headers: Mapping[str, Any] | None = None) -> Message:
    return Message(
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "video.enqueue", "id": "t-1", **(headers or {})},
        delivery_info={"exchange": "intake", "routing_key": "intake"},
        properties={},
        accept={"application/json"},
    )


def rejected(
    app: Celery, monkeypatch: pytest.MonkeyPatch, *, broker: str, fails: bool = False
) -> tuple[list[str], Publisher]:
    publisher = Publisher(fails=fails)

    class Ours:
        producer_pool = publisher
        conf = type("conf", (), {"broker_url": broker})

    monkeypatch.setattr(discreet, "app", Ours)
    request = Given(message(headers={"x-delivery-count": 3}), app)
    request.reject(requeue=True)
    return request.answers, publisher


def test_on_redis_a_message_goes_back_as_it_is(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, publisher = rejected(app, monkeypatch, broker="redis://127.0.0.1:1")

    assert len(answers) == 1
    assert answers[0] != "acknowledged"
    assert publisher.sent == []


def test_on_rabbitmq_it_is_sent_anew_so_that_no_limit_of_deliveries_drops_it(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, publisher = rejected(app, monkeypatch, broker="amqp://127.0.0.1:1")

    ((body, options),) = publisher.sent
    assert body == BODY
    assert options["headers"] == {"task": "video.enqueue", "id": "t-1"}
    assert (options["exchange"], options["routing_key"]) == ("intake", "intake")
    assert answers == ["acknowledged"]


def test_where_that_fails_the_broker_keeps_it(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, publisher = rejected(app, monkeypatch, broker="amqp://127.0.0.1:1", fails=True)

    assert publisher.sent == []
    assert len(answers) == 1
    assert answers[0] != "acknowledged"


def test_only_names_are_shown(app: Celery) -> None:
    shown = Given(message(), app).kwargsrepr

    assert shown == repr({"request": "(hidden)", "job_id": "mine"})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("lane", "runway:team", "runway:team"),
        ("lane", "hooks.example.com", "hooks.example.com"),
        ("lane", "[2001:db8::1]", "[2001:db8::1]"),
        ("lane", None, None),
        ("lane", {"prompt": "a fox"}, "(hidden)"),
        ("lane", "https://me:s3cret@a.example/", "(hidden)"),
        ("within", 20.0, 20.0),
        ("tenant", "acme", "acme"),
        ("tenant", "a fox in the snow", "(hidden)"),
        ("request", "acme", "(hidden)"),
    ],
)
def test_of_arguments_names_are_shown(name: str, value: object, told: object) -> None:
    assert discreet.shown(name, value) == told


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "5",
        "[]",
        "[[], [], {}]",
        "[" * 100_000,
        '[[], {"a": "' + "b" * ENQUEUE.most_bytes + '"}, {}]',
    ],
    ids=["half", "number", "list", "no names", "deep", "large"],
)
def test_what_cannot_be_read_is_made_readable(body: str) -> None:
    given = message(body)
    reason = discreet.unreadable_reason(given, ENQUEUE.most_bytes)
    assert reason

    discreet.replace_body(given, reason)

    args, kwargs, _ = given.payload
    assert args == []
    assert set(kwargs) == {UNREADABLE, RAW}


def test_what_can_be_read_is_left_alone() -> None:
    assert discreet.unreadable_reason(message(), ENQUEUE.most_bytes) is None


@pytest.mark.parametrize("name", ["chain", "callbacks", "errbacks", "chord", "group", "shadow"])
def test_nothing_else_is_done_by_the_word_of_a_sender(name: str) -> None:
    sent = [[], {"job_id": "mine"}, {name: ["other.task"]}]
    given = message(json.dumps(sent), headers={name: ["other.task"]})
    assert discreet.unreadable_reason(given, ENQUEUE.most_bytes) is None

    discreet.strip(given)

    assert json.loads(str(given.body)) == given.payload == [[], {"job_id": "mine"}, {}]
    assert set(given.headers) == {"task", "id"}


def test_a_message_without_any_of_it_is_left_as_it_came() -> None:
    given = message(BODY.replace("{}]", '{"chain": null}]'))
    came = given.body

    discreet.strip(given)

    assert given.body is came


def test_a_message_may_be_as_large_as_a_request_over_http() -> None:
    assert ENQUEUE.most_bytes == MAX_BODY


def test_a_message_of_a_batch_may_have_a_megabyte() -> None:
    body = json.dumps([[], {"requests": ["a" * 2**20]}, {}])

    assert discreet.unreadable_reason(message(body), ENQUEUE_BATCH.most_bytes)


def test_nothing_is_delivered_again_while_it_is_taken_in() -> None:
    assert 2 * BOUND + max(WAIT) < REDELIVERY / 2


@pytest.mark.parametrize(
    ("task_id", "job_id"),
    [
        ("0b0a4c1e-5d6f-4a7b-8c9d-0e1f2a3b4c5d", "job_vid_0b0a4c1e5d6f4a7b8c9d0e1f2a3b4c5d"),
        ("order-4711", "job_vid_"),
        ("\ud83d", "job_vid_"),
    ],
)
def test_a_job_has_the_same_id_each_time_its_message_comes(task_id: str, job_id: str) -> None:
    assert job_id_of(task_id).startswith(job_id)
    assert job_id_of(task_id) == job_id_of(task_id)
    assert len(job_id_of(task_id)) == 40
