"""Receives webhooks in a Django project: a decorator of views that get verified events."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from longtake.django.project import required
from longtake.errors import WebhookVerificationError
from longtake.webhooks import WebhookEvent, verify

#: Largest body of a webhook that is read, in bytes; a batch's event lists up to 1,000 errors.
MOST_BYTES: Final = 4 * 2**20

View = Callable[..., Any]


def webhook(
    view: View | None = None,
    *,
    secret: str | Sequence[str] | None = None,
    tolerance: float = 300,
    most_bytes: int = MOST_BYTES,
) -> Any:
    """Make a view of `view(request, event, …)`, sync or async, that is called for our events only.

    It takes POST alone, needs no CSRF token, and answers 400 to whatever `longtake.verify` does
    not take. Without a `secret` LONGTAKE's WEBHOOK_SECRET is used, which may be a list too. The
    body is read here, so `request.body` has nothing left. A view that returns None answers 204.

    The same event may come again, with the same `event.id`: after an answer that is not 2xx or was
    lost. Keep the ids that you have handled, under a unique key, in the transaction that
    handles them.
    """
    if view is None:
        return partial(webhook, secret=secret, tolerance=tolerance, most_bytes=most_bytes)

    def read(request: HttpRequest) -> WebhookEvent | HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        keys = required("WEBHOOK_SECRET") if secret is None else secret
        try:
            return verify(_body(request, most_bytes), request.headers, keys, tolerance)
        except WebhookVerificationError as error:
            return HttpResponse(f"no webhook of ours: {error}\n", "text/plain", 400)

    if iscoroutinefunction(view):

        @wraps(view)
        async def answer_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            event = read(request)
            if not isinstance(event, WebhookEvent):
                return event
            return await view(request, event, *args, **kwargs) or HttpResponse(status=204)

        return csrf_exempt(answer_async)

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        event = read(request)
        if not isinstance(event, WebhookEvent):
            return event
        return view(request, event, *args, **kwargs) or HttpResponse(status=204)

    return csrf_exempt(answer)


def _body(request: HttpRequest, most_bytes: int) -> bytes:
    try:
        body: bytes = request.read(most_bytes + 1)
    except UnreadablePostError:
        raise WebhookVerificationError("the body ended early") from None
    if len(body) > most_bytes:
        raise WebhookVerificationError(f"the body has more than {most_bytes} bytes")
    return body
