"""Messages with a request: hides their content from Flower and logs, and requeues them."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import structlog
from celery.exceptions import InvalidTaskError, WorkerLostError
from celery.worker.request import Request
from celery.worker.strategy import default
from kombu import Message

from tasks.queue import BROKER_TIMEOUT, app

log = structlog.get_logger()

#: Largest message body, in bytes: the same limit as for an HTTP request.
MAX_MESSAGE = 25 * 2**20
#: Arguments that replace an unreadable message's body, and the largest body kept, in bytes.
UNREADABLE, RAW = "_unreadable", "_raw"
MOST_KEPT = 2**20
#: Names that are safe to show.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)

#: Arguments that may be shown.
_SHOWN = ("job_id", "tenant")
#: Headers of one delivery, or of the body's encoding, that must not be sent again.
_OF_THIS_DELIVERY = frozenset({"x-delivery-count", "x-acquired-count", "x-death", "compression"})


class DiscreetRequest(Request):
    """Celery's view of such a message; the sender's own description of it is not trusted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = self.kwargs if isinstance(self.kwargs, dict) else {}
        shown = {name: given[name] for name in _SHOWN if is_name(given.get(name))}
        self._argsrepr = "(hidden)" if self.args else "()"
        self._kwargsrepr = repr({"request": "(hidden)", **shown})
        self._worker_was_lost = False

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - Celery's own
        """The answer to `inspect`, which Flower shows: always the safe form."""
        return super().info(safe=True)

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


def is_name(value: object) -> bool:
    """Whether a value is safe to show in a log and to store in a row."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def readable(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy, made safe for messages with any content.

    Celery logs an unreadable body in full and acknowledges it, and JSON of an unexpected shape
    crashes its worker. Here such a message reaches its task, which records the reason.
    """
    handle: Callable[..., Any] = default(task, app, consumer, **options)

    def take(message: Message, body: Any, *args: Any, **kwargs: Any) -> Any:
        if body is None and (reason := unreadable_reason(message)):
            replace_body(message, reason)
        try:
            return handle(message, body, *args, **kwargs)
        except InvalidTaskError:
            for name in ("eta", "expires"):
                message.headers.pop(name, None)
            replace_body(message, "its eta or expires is not a valid time")
            return handle(message, None, *args, **kwargs)

    return take


def unreadable_reason(message: Message) -> str | None:
    """Why a message can't be read, or None."""
    size = len(message.body or b"")
    if size > MAX_MESSAGE:
        return f"its body has {size} bytes; the limit is {MAX_MESSAGE}"
    try:
        payload = message.payload
    except Exception:  # noqa: BLE001 - decoders raise anything, such as RecursionError
        return "its body is not JSON"
    match payload:
        case [list(), dict(), dict() | None] | {"args": list(), "kwargs": dict()}:
            return None
    return "its body is not [args, kwargs, options]"


def replace_body(message: Message, reason: str) -> None:
    """Replace an unreadable body with a readable one; the broker keeps the original."""
    body = message.body or b""
    raw = body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body)
    kept = b64encode(raw).decode() if len(raw) <= MOST_KEPT else None
    message.body = json.dumps([[], {UNREADABLE: reason, RAW: kept}, {}])
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message._decoded_cache = None  # type: ignore[attr-defined]  # noqa: SLF001 - no public API
