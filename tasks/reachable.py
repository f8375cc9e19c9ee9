"""Refuses what is valid by itself and could still never be done: addresses and times out of reach.

Every way in comes by here: both APIs' requests, lines of batches, and messages of the broker.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from models.failure import RequestRefused
from models.request import VideoRequest
from tasks.engine import Engine
from webhooks.signing import BadSecret, secret_bytes

#: How far ahead a job may start, as long as its deadline may be: until then its estimate stays
#: reserved, and what it needs is kept.
MOST_AHEAD: Final = timedelta(days=30)


def check_reachable(engine: Engine, request: VideoRequest) -> None:
    """Refuse a webhook, a picture or a start that is out of reach; raises RequestRefused."""
    check_webhook(engine, request.webhook_url, request.webhook_secret)
    check_pictures(engine, request)
    check_start(request.run_at)


def check_webhook(engine: Engine, url: str | None, secret: str | None) -> None:
    """Refuse a webhook that could never be delivered; raises RequestRefused."""
    if secret is not None:
        if url is None:
            msg = "webhook_secret needs webhook_url"
            raise RequestRefused(msg, param="webhook_secret")
        try:
            secret_bytes(secret)
        except BadSecret as error:
            msg = f"webhook_secret {error}"
            raise RequestRefused(msg, param="webhook_secret") from None
    if url is not None and (reason := engine.guard.check_host(url)):
        msg = f"webhook_url is refused: {reason}"
        raise RequestRefused(msg, param="webhook_url")


def check_pictures(engine: Engine, request: VideoRequest) -> None:
    """Refuse a link to a picture that nobody outside could fetch; raises RequestRefused."""
    for name, picture in request.pictures():
        is_link = isinstance(picture, str) and not picture.startswith("data:")
        if is_link and (reason := engine.guard.check_host(str(picture))):
            raise RequestRefused(f"{name} is refused: {reason}", param=name)


def check_start(run_at: datetime | None) -> None:
    """Refuse a start that is too far ahead; one in the past is now. Raises RequestRefused."""
    latest = datetime.now(UTC) + MOST_AHEAD
    if run_at is not None and run_at > latest:
        msg = (
            f"run_at must be at most {MOST_AHEAD.days} days ahead, so by {_iso(latest)} "
            f"(it is {_iso(run_at)})"
        )
        raise RequestRefused(msg, param="run_at")


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
