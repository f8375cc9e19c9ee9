"""Beat goes on ticking after its connection to the broker has broken."""

from unittest.mock import patch

import pytest
from celery import Celery
from celery.beat import SchedulingError
from kombu import Producer
from kombu.exceptions import OperationalError

from worker.beat import TickScheduler

QUEUE = "beat-test"


@pytest.fixture
def app() -> Celery:
    app = Celery("longtake-beat-test", broker="memory://", set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_publish_retry=False,
        beat_schedule={"tick": {"task": "video.tick", "schedule": 1.0}},
    )
    return app


def waiting(app: Celery) -> int:
    with app.connection_for_read() as connection:
        return connection.SimpleQueue(QUEUE).qsize()


def test_a_tick_after_a_broken_connection_arrives(app: Celery) -> None:
    scheduler = TickScheduler(app, lazy=False)
    entry = scheduler.schedule["tick"]
    scheduler.apply_async(entry, producer=scheduler.producer)
    assert waiting(app) == 1

    # Given a connection that breaks under a tick, and takes its producer's channel with it
    def break_off(self: Producer, *_: object, **__: object) -> None:
        self._channel = None  # type: ignore[attr-defined]
        raise OperationalError("CONNECTION_FORCED")

    with patch.object(Producer, "_publish", break_off), pytest.raises(SchedulingError):
        scheduler.apply_async(entry, producer=scheduler.producer)

    # Then the next tick goes out all the same
    scheduler.apply_async(entry, producer=scheduler.producer)
    assert waiting(app) == 2
