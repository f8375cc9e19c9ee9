"""What Celery is told: which queues there are, and what a worker takes from without being told."""

import pytest
from celery import Celery

from settings import load
from tasks.queue import _configuration
from tasks.queues import Queue


def app_on(broker: str) -> Celery:
    given = {"LONGTAKE_DATABASE_URL": "postgresql://nowhere", "LONGTAKE_BROKER_URL": broker}
    app = Celery("longtake-test", set_as_current=False)
    app.conf.update(_configuration(load({**given, "LONGTAKE_SECRET_KEYS": "a-key-of-a-test" * 3})))
    return app


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1"])
def test_a_worker_without_a_list_of_queues_takes_from_all(broker: str) -> None:
    assert set(app_on(broker).amqp.queues.consume_from) == set(Queue)


def test_on_rabbitmq_every_queue_is_replicated() -> None:
    queues = app_on("amqp://127.0.0.1:1").amqp.queues.values()
    assert [queue.queue_arguments for queue in queues] == [{"x-queue-type": "quorum"}] * len(Queue)
