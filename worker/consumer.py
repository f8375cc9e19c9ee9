"""Celery's consumer, which tells of messages that it drops without what they contain.

Celery logs such a message in full: its body, headers and decoding error all quote the request.
"""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery import signals
from celery.exceptions import NotRegistered
from celery.worker.consumer import Consumer as _Consumer
from kombu import Message

from tasks.forms import is_name

log = structlog.get_logger()

#: Its types know few of its attributes.
Consumer: Any = _Consumer

#: What a name is replaced with that may be anything.
_HIDDEN = "(hidden)"
#: What Celery raises on messages of a shape that it does not expect; other errors are not theirs.
_OF_SHAPE = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


class DiscreetConsumer(Consumer):  # type: ignore[misc]
    """The consumer of every worker; what it can't work on is rejected, as by Celery's own."""

    def update_strategies(self) -> None:
        """Take none of Celery's own tasks: they run others past their guards."""
        super().update_strategies()
        for name in [name for name in self.strategies if name.startswith("celery.")]:
            del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], Any]:
        handle: Callable[[Message], Any] = super().create_task_handler(*args, **kwargs)

        def take(message: Message) -> Any:
            try:
                return handle(message)
            except _OF_SHAPE as error:
                # One such message would end the worker, or its connection where Celery takes the
                # error for the broker's (Redis and KeyError), and be delivered again and again.
                return self.on_invalid_task(None, message, error)

        return take

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        _tell("broker.not_decoded", message, error=type(exc).__name__)
        message.ack_log_error(log, self.connection_errors)

    def on_unknown_message(self, body: object, message: Message) -> None:  # noqa: ARG002 - Celery's
        _tell("broker.unknown_message", message)
        self._reject(message, None)

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002
        task, id_ = _names(message)
        _tell("broker.unknown_task", message)
        self._reject(message, exc, tells=False)
        if self.event_dispatcher and id_ != _HIDDEN:
            self.event_dispatcher.send(
                "task-failed", uuid=id_, exception=f"{NotRegistered.__name__}({task!r})"
            )
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=task, id=id_)

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002
        _tell("broker.invalid_message", message, error=type(exc).__name__)
        self._reject(message, exc)

    def _reject(self, message: Message, exc: Exception | None, *, tells: bool = True) -> None:
        message.reject_log_error(log, self.connection_errors)
        if tells:
            signals.task_rejected.send(sender=self, message=message, exc=exc)


def _tell(event: str, message: Message, **facts: str) -> None:
    task, id_ = _names(message)
    queue = (message.delivery_info or {}).get("routing_key")
    log.error(
        event,
        task=task,
        task_id=id_,
        queue=queue if is_name(queue) else _HIDDEN,
        bytes=len(message.body or b""),
        **facts,
    )


def _names(message: Message) -> tuple[str, str]:
    """The task and its id, if they are names; those of Celery's first protocol are not read."""
    headers: Mapping[str, object] = message.headers or {}
    task, id_ = headers.get("task"), headers.get("id")
    return (
        str(task) if is_name(task) else _HIDDEN,
        str(id_) if is_name(id_) else _HIDDEN,
    )
