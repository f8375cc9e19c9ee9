"""Receives webhooks in a FastAPI app: a dependency that hands on verified events."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from longtake.errors import WebhookVerificationError
from longtake.webhooks import WebhookEvent, verify

#: Largest body of a webhook that is read, in bytes; a batch's event lists up to 1,000 errors.
MOST_BYTES: Final = 4 * 2**20


def webhook(
    secret: str | Sequence[str],
    *,
    tolerance: float = 300,
    most_bytes: int = MOST_BYTES,
) -> Callable[[Request], Awaitable[WebhookEvent]]:
    """A dependency: `event: Annotated[WebhookEvent, Depends(webhook(secret))]`.

    It reads the raw body itself, at most `most_bytes` of it, and answers 400 to whatever
    `longtake.verify` does not take. `secret` and `tolerance` are as of `verify`.

    The same event may come again, with the same `event.id`: after an answer that is not 2xx or was
    lost. Keep the ids that you have handled, under a unique key, in the transaction that
    handles them.
    """

    async def verified(request: Request) -> WebhookEvent:
        try:
            return verify(await _body(request, most_bytes), request.headers, secret, tolerance)
        except WebhookVerificationError as error:
            raise HTTPException(400, f"no webhook of ours: {error}") from None

    return verified


async def _body(request: Request, most_bytes: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most_bytes:
                raise WebhookVerificationError(f"the body has more than {most_bytes} bytes")
    except ClientDisconnect:
        raise WebhookVerificationError("the body ended early") from None
    return bytes(body)
