"""`python -m api`: serve the API until told to stop, then finish requests in progress."""

import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from catalog.models import Catalog
from logs import configure
from providers.registry import accounts
from settings import Settings, SettingsError, load

log = structlog.get_logger()

#: Seconds between SIGTERM and the end of listening: /readyz returns 503 meanwhile, so a load
#: balancer stops sending before connections are refused.
DRAIN = 1.0
#: Seconds for requests in progress to finish after that.
GRACE = 20


class Server(uvicorn.Server):
    """Uvicorn with a draining period before it stops."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._stops_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Signal handler; it runs between any two instructions, so it only sets flags."""
        if sig == signal.SIGTERM and self.started and self._stops_at is None:
            self._stops_at = time.monotonic() + DRAIN
            self._app.state.front.is_draining = True
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True stops serving."""
        if self._stops_at is not None:
            self._app.state.front.streams.close()
        is_over = self._stops_at is not None and time.monotonic() >= self._stops_at
        return await super().on_tick(counter) or is_over


def main() -> int:
    """Serve; returns the exit code, 2 for invalid settings."""
    try:
        settings = load()
        _check(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging is not configured
        return 2
    os.umask(0o077)  # notes and spools belong to this account alone
    configure(settings.log_level, sys.stdout)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,  # api.edge logs requests without queries
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,  # longer than the usual load balancer's 60 s
        timeout_graceful_shutdown=GRACE,
    )
    server = Server(config, app)
    log.info("api.starting", host=settings.api_host, port=settings.api_port)
    with suppress(KeyboardInterrupt):  # uvicorn re-raises it after stopping
        server.run()
    log.info("api.stopped")
    return 0 if server.started else 3


def _check(settings: Settings) -> None:
    """Check the settings before starting anything; raises SettingsError."""
    settings.require_database()
    settings.require_broker()
    Catalog.load(settings)
    accounts(settings)


if __name__ == "__main__":
    sys.exit(main())
