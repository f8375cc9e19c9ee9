"""Submits requests as Celery messages, for backends that share a broker with Longtake."""

import re
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.pools import producers
from kombu.utils.json import dumps

from longtake.sealing import sealed

#: Requests in one message of `enqueue_batch`.
MOST_REQUESTS: Final = 1000
#: Largest message of `enqueue_batch` and of `enqueue`, in bytes.
MOST_BATCH_BYTES: Final = 2**20
MOST_BYTES: Final = 25 * 2**20

#: The most that one connection, one answer and one free producer are waited for, in seconds.
_TIMEOUT: Final = 5.0
#: Of a broker that does not answer; a message that goes out twice makes one job.
_RETRIES: Final = {
    "max_retries": 3,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 1.0,
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)
#: Fields of a request that Flower may show, if they are short.
_SHOWN: Final = ("model", "gate", "duration_seconds", "count")
_SHORT: Final = 64
#: Celery's, in which a message says what is shown of its arguments.
_PROTOCOL: Final = 2


def enqueue(
    app_or_broker_url: Celery | str,
    request: Mapping[str, Any],
    *,
    job_id: str | None = None,
    tenant: str = "default",
    prompt_characters: int = 0,
    sealing_key: str | None = None,
) -> str:
    """Submit one request, the body of `POST /v1/video/generations`; returns its job's id.

    The id is chosen before anything is sent, so that whatever is sent twice is one job: within
    this call a lost connection is retried, and a caller that repeats a call which raised must give
    its own `job_id`. The call returns once the broker has taken the message (on RabbitMQ, has
    confirmed it); the request itself is checked by Longtake: what it can't accept is listed by
    `GET /v1/intake/failed`.

    The broker holds the request as JSON in the clear until a worker has taken it: prompt,
    pictures, `webhook_url` and `webhook_secret`. Whoever may read the broker may read these, unless
    `sealing_key` is given (of `GET /v1/intake/key` or `longtake intake key`): then the broker holds
    what Longtake's workers alone can open. Flower and Celery's events show the ids, the model and a
    few such fields, and `prompt_characters` of the prompt; of a sealed request only the ids.

    Raises:
        ValueError: `job_id` or `tenant` is no name, `sealing_key` no key, the message is larger
            than 25 MB, or the app has `task_protocol` 1, under which events show all of a request.
        RuntimeError: there is a `sealing_key`, and no `cryptography` (longtake[seal]).
        TypeError: the request is no mapping, or has a value that JSON can't hold.
        kombu.exceptions.OperationalError: the broker did not take the message after three
            retries, or did and its answer was lost.
    """
    if not isinstance(request, Mapping):
        raise TypeError(f"request must be a mapping (it is {type(request).__name__})")
    _check_names(tenant=tenant)
    if job_id is not None:
        _check_names(job_id=job_id)
    task_id = uuid.uuid4()
    chosen = job_id or f"job_vid_{task_id.hex}"
    shown = {} if sealing_key else _shown(request, prompt_characters)
    shown |= {"job_id": chosen, "tenant": tenant}
    content = {"request": dict(request)}
    if sealing_key is not None:
        content = _sealed(content, sealing_key, task="video.enqueue", id_=chosen, tenant=tenant)
    message = {**content, "job_id": chosen, "tenant": tenant}
    _send(
        *(app_or_broker_url, "video.enqueue", message),
        task_id=str(task_id),
        shown=shown,
        most=MOST_BYTES,
    )
    return chosen


def enqueue_batch(
    app_or_broker_url: Celery | str,
    requests: Sequence[Mapping[str, Any]],
    *,
    batch_id: str,
    options: Mapping[str, Any] | None = None,
    tenant: str = "default",
    sealing_key: str | None = None,
) -> str:
    """Submit up to 1,000 requests as one batch; returns `batch_id`, by which a repeat is known.

    `requests` are lines and `options` are options as of `POST /v1/batches`, which takes more of
    them. Otherwise as `enqueue`; Flower shows no request at all.

    Raises:
        ValueError: there are no requests or more than 1,000, the message is larger than 1 MB, or
            `batch_id` or `tenant` is no name.
        TypeError, kombu.exceptions.OperationalError: as `enqueue`.
    """
    _check_names(batch_id=batch_id, tenant=tenant)
    lines = [dict(request) for request in requests]
    if not 1 <= len(lines) <= MOST_REQUESTS:
        msg = (
            f"requests has {len(lines)} entries; a message takes 1 to {MOST_REQUESTS}: use "
            "POST /v1/batches for more"
        )
        raise ValueError(msg)
    content: dict[str, Any] = {"requests": lines}
    if options is not None:
        content["options"] = dict(options)
    if sealing_key is not None:
        task = "video.enqueue_batch"
        content = _sealed(content, sealing_key, task=task, id_=batch_id, tenant=tenant)
    message = {**content, "batch_id": batch_id, "tenant": tenant}
    _send(
        *(app_or_broker_url, "video.enqueue_batch", message),
        task_id=str(uuid.uuid4()),
        shown={"requests": f"({len(lines)})", "batch_id": batch_id, "tenant": tenant},
        most=MOST_BATCH_BYTES,
    )
    return batch_id


def _sealed(
    content: Mapping[str, Any], key: str, *, task: str, id_: str, tenant: str
) -> dict[str, Any]:
    return {"sealed": sealed(content, key=key, task=task, id_=id_, tenant=tenant)}


def _send(
    app_or_broker_url: Celery | str,
    task: str,
    message: Mapping[str, Any],
    *,
    task_id: str,
    shown: Mapping[str, Any],
    most: int,
) -> None:
    _check_size(message, most)
    url = app_or_broker_url if isinstance(app_or_broker_url, str) else None
    app = _plain_app() if isinstance(app_or_broker_url, str) else app_or_broker_url
    if app.conf.task_protocol != _PROTOCOL:
        msg = (
            f"the app's task_protocol must be {_PROTOCOL} (it is {app.conf.task_protocol!r}): "
            "another one shows the whole request to Flower"
        )
        raise ValueError(msg)
    with _connection(app, url) as connection:
        is_amqp = connection.transport.driver_type == "amqp"
        with producers[connection].acquire(block=True, timeout=_TIMEOUT) as producer:
            app.send_task(
                task,
                kwargs=dict(message),
                task_id=task_id,
                queue=_queue(is_amqp=is_amqp),
                producer=producer,
                serializer="json",
                # What Celery would make of the arguments shows them.
                argsrepr="()",
                kwargsrepr=repr(shown),
                ignore_result=True,
                add_to_parent=False,
                retry=True,
                retry_policy=_RETRIES,
                timeout=_TIMEOUT,
                confirm_timeout=_TIMEOUT,
            )


@cache
def _plain_app() -> Celery:
    return Celery("longtake-sender", set_as_current=False)


def _connection(app: Celery, url: str | None) -> Connection:
    """A connection of the app's settings that neither waits for ever nor sends unconfirmed."""
    plain = app.connection_for_write(url)
    options: dict[str, Any] = dict(_RETRIES)
    driver = plain.get_transport_cls().driver_type
    if driver == "redis":
        options |= {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT}
    options |= app.conf.broker_transport_options
    if driver == "amqp":
        options |= {"confirm_publish": True}
    connection: Connection = app.connection_for_write(url, transport_options=options)
    return connection


def _queue(*, is_amqp: bool) -> Any:
    """Longtake's own declaration: RabbitMQ refuses another one. Celery's types know names only."""
    arguments = {"x-queue-type": "quorum"} if is_amqp else None
    return Queue("intake", Exchange("intake"), "intake", queue_arguments=arguments)


def _shown(request: Mapping[str, Any], prompt_characters: int) -> dict[str, Any]:
    shown = {
        name: value
        for name in _SHOWN
        if isinstance(value := request.get(name), str | int) and len(str(value)) <= _SHORT
    }
    prompt = request.get("prompt")
    if isinstance(prompt, str) and prompt_characters > 0:
        is_cut = len(prompt) > prompt_characters
        shown["prompt"] = prompt[:prompt_characters] + "…" * is_cut
    return shown


def _check_names(**names: str) -> None:
    for name, value in names.items():
        if not _NAME.fullmatch(value):
            msg = (
                f"{name} must be text of 1 to 64 letters, digits and . _ : -, starting with a "
                f"letter or a digit (it is {value!r:.80})"
            )
            raise ValueError(msg)


def _check_size(message: Mapping[str, Any], most: int) -> None:
    nothing = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    size = len(dumps([[], message, nothing]))
    if size > most:
        msg = f"the message has {size} bytes of JSON; at most {most} are taken over the broker"
        raise ValueError(msg)
