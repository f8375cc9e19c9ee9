"""The Celery app: queues, task names and settings; importing a task configures its broker."""

from typing import Any

import kombu
from celery import Celery

from models.verbs import DECLARED, What
from scheduler.beat import SCHEDULE
from settings import Settings, current
from tasks.queues import Queue

#: The task of each kind of due rows, and its usual queue.
PUMPS: dict[What, tuple[str, Queue]] = {
    declared.what: (declared.task, Queue(declared.queue)) for declared in DECLARED
}


#: Seconds that publishing may take: a broker that hangs must not hang us.
BROKER_TIMEOUT = 5.0
#: Seconds between two heartbeats of a worker and RabbitMQ. A half-open connection is noticed after
#: two of them; Celery's own 120 s leave messages unconsumed for minutes.
BROKER_HEARTBEAT = 10.0
#: Seconds after which Redis or Valkey delivers again what was not acknowledged, because its worker
#: died. Longer than an intake takes (`tasks.letters`), and everything else is acknowledged when it
#: begins; a hint that waits for a slot for as long may go to another worker.
REDELIVERY = 180
#: How often workers look for such messages, in seconds.
REDELIVERY_LOOK = 30


def _configuration(settings: Settings) -> dict[str, Any]:
    broker = settings.require_broker()
    return {
        "broker_url": broker,
        "accept_content": ["json"],
        "task_serializer": "json",
        # State is in PostgreSQL; a result backend would be a second truth.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_default_queue": Queue.CONTROL,
        # All of them, so that a worker that is started without -Q does all there is to do.
        "task_queues": [_declared(queue, broker) for queue in Queue],
        "worker_detect_quorum_queues": True,
        "task_routes": {
            **{name: {"queue": queue} for name, queue in PUMPS.values()},
            "video.enqueue": {"queue": Queue.INTAKE},
            "video.enqueue_batch": {"queue": Queue.INTAKE},
            "video.tick": {"queue": Queue.CONTROL},
            "video.learn": {"queue": Queue.CONTROL},
            "video.look_around": {"queue": Queue.CONTROL},
            "video.prune": {"queue": Queue.CONTROL},
            "video.mark": {"queue": Queue.CONTROL},
        },
        # A message is a hint: acknowledged early, since the lease brings lost work back.
        "task_acks_late": False,
        # One message a slot: a hint must not wait behind a busy one.
        "worker_prefetch_multiplier": 1,
        # Flower sees tasks from the moment they are sent.
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "worker_hijack_root_logger": False,
        # Celery's own would log in full the messages that it can't work on.
        "worker_consumer": "worker.consumer:DiscreetConsumer",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_timeout": BROKER_TIMEOUT,
        "broker_heartbeat": BROKER_HEARTBEAT,
        "broker_transport_options": _transport_options(broker),
        "task_publish_retry": False,
        "beat_schedule": SCHEDULE,
        "beat_scheduler": "worker.beat:TickScheduler",
        "beat_max_loop_interval": 1,
        "timezone": "UTC",
    }


def _declared(queue: Queue, broker: str) -> kombu.Queue:
    """RabbitMQ: a replicated queue; its delivery limit may drop a message, which is a hint."""
    kind = {"x-queue-type": "quorum"} if broker.startswith("amqp") else None
    exchange = kombu.Exchange(queue.value)
    return kombu.Queue(queue.value, exchange, queue.value, queue_arguments=kind)


def _transport_options(broker: str) -> dict[str, Any]:
    if not broker.startswith("redis"):
        return {"confirm_publish": True}
    return {
        # Without these a half-open connection hangs a publisher indefinitely.
        "socket_timeout": 30.0,
        "socket_connect_timeout": BROKER_TIMEOUT,
        "socket_keepalive": True,
        "visibility_timeout": REDELIVERY,
        "unacked_restore_interval": REDELIVERY_LOOK,
        "unacked_restore_throttle": 1,
    }


# By name, since what hides messages needs this app.
app = Celery("longtake", set_as_current=True, task_cls="tasks.discreet:MaskedTask")
# Read when it is first needed, so that importing a task needs no environment.
app.add_defaults(lambda: _configuration(current()))
