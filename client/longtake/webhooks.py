"""Verifies webhooks, which are signed after Standard Webhooks v1, with what Python brings.

What is signed is `id.timestamp.body` (standard-webhooks specification 1.0.0, "signature scheme").
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from longtake.errors import WebhookVerificationError
from longtake.results import Batch, Job

#: What every webhook has; a WSGI environ spells them HTTP_WEBHOOK_ID and so on.
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

_PREFIX = "whsec_"
_ID = re.compile(r"[!-\-/-~]{1,255}", re.ASCII)  # no full stop, which separates what is signed
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


class HasGet(Protocol):
    """Headers of a framework that can only be asked by name."""

    def get(self, name: str, /) -> str | None: ...


Headers = Mapping[str, str] | Iterable[tuple[bytes, bytes]] | Iterable[tuple[str, str]] | HasGet


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """A verified event; the same `id` may come again, and must do no harm then."""

    #: `video.completed`, `video.failed`, `video.cancelled`, `batch.completed`, or a newer one.
    type: str
    #: When it happened; the same at every try.
    timestamp: datetime
    id: str
    #: The job or the batch as it was then.
    data: Mapping[str, Any] = field(repr=False)

    @property
    def job(self) -> Job:
        """The data of a `video.…` event; ValueError for another one's."""
        return Job.of(self.data)

    @property
    def batch(self) -> Batch:
        """The data of a `batch.…` event; ValueError for another one's."""
        return Batch.of(self.data)


def verify(
    payload: bytes,
    headers: Headers,
    secret: str | Sequence[str],
    tolerance: float = 300,
) -> WebhookEvent:
    """The event of a webhook that is ours, whole and at most `tolerance` seconds old or early.

    `payload` is the body as it came, `headers` a mapping with names in any case, a WSGI environ,
    ASGI's list of pairs, or anything with `get`. During a change of secrets give both.

    Raises:
        WebhookVerificationError: for whatever is wrong, and nothing else is raised.
    """
    try:
        return _verified(payload, headers, secret, tolerance)
    except WebhookVerificationError:
        raise
    except Exception:  # noqa: BLE001 - arguments of any kind, which may raise anything
        raise WebhookVerificationError("the arguments can't be read") from None


def _verified(
    payload: bytes, headers: Headers, secret: str | Sequence[str], tolerance: float
) -> WebhookEvent:
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise WebhookVerificationError("the payload must be the body's bytes, as they came")
    body = bytes(payload)
    message_id, timestamp, signatures = _read(headers)
    _check_fresh(timestamp, tolerance)
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    expected = [_signature(key, content) for key in _keys(secret)]
    given = [each.encode() for each in signatures.split(" ")]
    # Every pair is compared, so that the time tells nothing of which one matched.
    if not sum(hmac.compare_digest(ours, theirs) for ours in expected for theirs in given):
        raise WebhookVerificationError("no webhook-signature matches the body and the secret")
    return _event(message_id, body)


def _read(headers: Headers) -> tuple[str, str, str]:
    """The three headers, each there once and well-formed."""
    try:
        found = _found(headers)
    except Exception:  # noqa: BLE001 - headers of any kind, which may raise anything
        raise WebhookVerificationError("the headers can't be read") from None
    for name in HEADERS:
        if len(found[name]) != 1:
            how = "missing" if not found[name] else "there more than once"
            raise WebhookVerificationError(f"{name} is {how}")
    message_id, timestamp, signatures = (found[name][0] for name in HEADERS)
    if not _ID.fullmatch(message_id):
        raise WebhookVerificationError("webhook-id must be ASCII without spaces and full stops")
    if not _UNIX_SECONDS.fullmatch(timestamp):
        raise WebhookVerificationError("webhook-timestamp must be Unix time in whole seconds")
    if not signatures.isascii():
        raise WebhookVerificationError("webhook-signature must be ASCII")
    return message_id, timestamp, signatures


def _found(headers: Any) -> Mapping[str, list[str]]:
    """Every value of each of the three headers."""
    found: dict[str, list[str]] = {name: [] for name in HEADERS}
    if hasattr(headers, "items"):
        pairs = headers.items()
    elif hasattr(headers, "get"):
        pairs = [(name, headers.get(name)) for name in HEADERS]
    else:
        pairs = headers
    for name, value in pairs:
        known = _text(name).lower()
        if known.startswith("http_"):  # WSGI
            known = known.removeprefix("http_").replace("_", "-")
        if known in found and value is not None:
            found[known].append(_text(value))
    return found


def _text(value: Any) -> str:
    """A header's text; bytes must be UTF-8."""
    text = value.decode() if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise TypeError
    return text


def _check_fresh(timestamp: str, tolerance: Any) -> None:
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise WebhookVerificationError("tolerance must be a number of seconds, 0 or more")
    age = time.time() - int(timestamp)
    if abs(age) > tolerance:
        when = "old" if age > 0 else "in the future"
        raise WebhookVerificationError(
            f"webhook-timestamp is {abs(age):.0f} s {when}; {tolerance} s are tolerated"
        )


def _keys(secret: str | Sequence[str]) -> list[bytes]:
    """A key for each secret: `whsec_…` is base64 of it, any other secret is its UTF-8 bytes."""
    secrets = [secret] if isinstance(secret, str) else secret
    if not isinstance(secrets, list | tuple) or not secrets:
        raise WebhookVerificationError("secret must be a string, or a list of one or more")
    return [_key(each) for each in secrets]


def _key(secret: str) -> bytes:
    try:
        if secret.startswith(_PREFIX):
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        else:
            key = secret.encode()
    except (AttributeError, TypeError, binascii.Error, ValueError):
        key = b""
    if not key:
        raise WebhookVerificationError(
            "a secret must be a string that is not empty, and base64 after whsec_"
        )
    return key


def _signature(key: bytes, content: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256))


def _event(message_id: str, body: bytes) -> WebhookEvent:
    try:
        event = json.loads(body.decode())
        kind, data = event["type"], event["data"]
        moment = datetime.fromisoformat(event["timestamp"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise WebhookVerificationError(
            "the body is signed, but no event of type, timestamp and data"
        ) from None
    if not (isinstance(kind, str) and isinstance(data, dict) and moment.tzinfo):
        raise WebhookVerificationError("the body is signed, but its fields have other types")
    return WebhookEvent(type=kind, timestamp=moment, id=message_id, data=data)
