"""Messages as Celery's worker sees them: hides their content from Flower and logs.

A sender's own description of its message is never shown: Celery makes it of the arguments.
"""

import inspect
import json
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import structlog
from celery import Task
from celery.exceptions import InvalidTaskError, WorkerLostError
from celery.worker.request import Request
from celery.worker.strategy import default
from kombu import Message

from tasks.forms import FORMS, MOST_KEPT, RAW, UNREADABLE, is_name
from tasks.queue import BROKER_TIMEOUT, app

log = structlog.get_logger()

#: Arguments of which a name is shown; of the others, only that they are there.
_NAMES = {"tenant", *(form.id for form in FORMS.values())}
#: Arguments of hints: a lane is an account, a host or a tenant.
_OF_HINTS = {"lane", "within"}
_LANE = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,259}", re.ASCII)
_KNOWN = _OF_HINTS | {parameter for form in FORMS.values() for parameter in form.parameters}
#: Headers of one delivery, or of the body's encoding, that must not be sent again.
_OF_THIS_DELIVERY = frozenset({"x-delivery-count", "x-acquired-count", "x-death", "compression"})
#: What Celery would send after a task by its sender's word, and a name that its sender gives it.
_NOT_OURS = ("chain", "callbacks", "errbacks", "chord", "group", "taskset", "shadow")
#: Largest body of a message that carries no request, in bytes.
MOST_OF_HINT = 2**16
_HIDDEN = "(hidden)"


class MaskedRequest(Request):
    """Celery's view of any message, without what its arguments contain."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = self.kwargs if isinstance(self.kwargs, dict) else {}
        self._argsrepr = _HIDDEN if self.args else "()"
        self._kwargsrepr = repr(
            {name: shown(name, value) for name, value in given.items() if name in _KNOWN}
        )

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - Celery's own
        """The answer to `inspect`, which Flower shows: always the safe form."""
        return super().info(safe=True)


class MaskedTask(Task):  # type: ignore[type-arg] # a base class, which Celery subclasses itself
    """The base of all tasks, Celery's own included."""

    abstract = True
    Request = "tasks.discreet:MaskedRequest"
    Strategy = "tasks.discreet:guarded"


class DiscreetRequest(MaskedRequest):
    """A message with a request, which goes back to the broker until it is recorded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._worker_was_lost = False

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        self._worker_was_lost = isinstance(exc_info.exception, WorkerLostError)
        return super().on_failure(exc_info, *args, **kwargs)

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's own
        """Requeue the message, or drop it.

        RabbitMQ drops a message after 20 requeues, which an outage of minutes reaches. There, a
        copy is sent and confirmed before the original is acknowledged.
        """
        is_counted = str(app.conf.broker_url).startswith("amqp")
        if not (requeue and is_counted) or self._worker_was_lost or self.acknowledged:
            super().reject(requeue=requeue)
            return
        try:
            self._send_copy()
        except Exception as error:  # noqa: BLE001 - the broker still has the original
            log.warning("intake.copy_not_sent", task_id=self.id, error=type(error).__name__)
            super().reject(requeue=True)
        else:
            self.acknowledge()

    def _send_copy(self) -> None:
        message = self.message
        with app.producer_pool.acquire(block=True, timeout=BROKER_TIMEOUT) as producer:
            producer.publish(
                message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers={k: v for k, v in message.headers.items() if k not in _OF_THIS_DELIVERY},
                exchange=message.delivery_info.get("exchange") or "",
                routing_key=message.delivery_info["routing_key"],
                correlation_id=self.id,
                priority=message.properties.get("priority"),
                delivery_mode=2,
                retry=False,
                timeout=BROKER_TIMEOUT,
                confirm_timeout=BROKER_TIMEOUT,
            )


def guarded(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, which a message of an unexpected shape can't crash.

    Arguments that the task does not take end here: Python's error would tell their names.
    """
    handle: Callable[..., Any] = default(task, app, consumer, **options)
    signature = inspect.signature(task.run)

    def take(message: Message, body: Any, *args: Any, **kwargs: Any) -> Any:
        if reason := unreadable_reason(message, MOST_OF_HINT):
            raise InvalidTaskError(reason)
        strip(message)
        payload = message.payload
        is_named = isinstance(payload, dict)
        given, named = (payload["args"], payload["kwargs"]) if is_named else payload[:2]
        signature.bind(*given, **named)  # the consumer tells of its error no more than the type
        return handle(message, body, *args, **kwargs)

    return take


def readable(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, made safe for messages with any content.

    Celery logs an unreadable body in full and acknowledges it, and JSON of an unexpected shape
    crashes its worker. Here such a message reaches its task, which records the reason.
    """
    handle: Callable[..., Any] = default(task, app, consumer, **options)
    most = FORMS[task.name].most_bytes

    def take(message: Message, body: Any, *args: Any, **kwargs: Any) -> Any:
        if body is None and (reason := unreadable_reason(message, most)):
            replace_body(message, reason)
        try:
            strip(message)
        except RecursionError:
            replace_body(message, "it is nested too deeply")
        try:
            return handle(message, body, *args, **kwargs)
        except InvalidTaskError:
            for name in ("eta", "expires"):
                message.headers.pop(name, None)
            replace_body(message, "its eta or expires is not a valid time")
            return handle(message, None, *args, **kwargs)

    return take


def unreadable_reason(message: Message, most: int) -> str | None:
    """Why a message can't be read, or None; `most` bytes are allowed."""
    size = len(message.body or b"")
    if size > most:
        return f"its body has {size} bytes; the limit is {most}"
    try:
        payload = message.payload
    except Exception:  # noqa: BLE001 - decoders raise anything, such as RecursionError
        return "its body is not JSON"
    match payload:
        case [list(), dict(), dict() | None] | {"args": list(), "kwargs": dict()}:
            return None
    return "its body is not [args, kwargs, options]"


def strip(message: Message) -> None:
    """Take from a message whose body was read what Celery would do beside its task."""
    payload = message.payload
    for given in (message.headers, payload):
        if isinstance(given, dict):
            for name in _NOT_OURS:
                given.pop(name, None)
    # Celery lets these options overwrite anything that it knows of the task.
    match payload:
        case [list() as args, dict() as kwargs, dict() as options] if any(options.values()):
            _write_body(message, [args, kwargs, {}])


def replace_body(message: Message, reason: str) -> None:
    """Replace an unreadable body with a readable one; the broker keeps the original."""
    body = message.body or b""
    raw = body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body)
    kept = b64encode(raw).decode() if len(raw) <= MOST_KEPT else None
    _write_body(message, [[], {UNREADABLE: reason, RAW: kept}, {}])


def _write_body(message: Message, body: list[Any]) -> None:
    message.body = json.dumps(body)
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message._decoded_cache = None  # type: ignore[attr-defined]  # noqa: SLF001 - no public API


def shown(name: str, value: object) -> object:
    """A task's argument as logs and events may show it."""
    if value is None or (name in _OF_HINTS and isinstance(value, float)):
        return value
    is_lane = name == "lane" and isinstance(value, str) and _LANE.fullmatch(value)
    return value if is_lane or (name in _NAMES and is_name(value)) else _HIDDEN
