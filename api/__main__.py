"""`python -m api`: serve the API until told to stop, then finish requests in progress."""

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from api.app import create_app
from api.connections import Connection, Connections, Patience
from api.limits import limits_of, raise_file_limit
from api.listening import Listener, bound
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
    """Uvicorn with bounded connections, and with a draining period before it stops."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._connections = _connections(settings)
        self._listener: Listener | None = None
        self._stops_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen by ourselves: Uvicorn gets no socket."""
        try:
            listening = sockets or bound(self.config.host, self.config.port)
        except OSError as error:
            log.error("api.cannot_listen", reason=str(error))  # noqa: TRY400 - no traceback says more
            sys.exit(STARTUP_FAILURE)
        await super().startup(sockets=[])
        if self.should_exit:
            return
        self._listener = Listener(listening, self._connections, self._connection)
        self._listener.start()
        self._connections.start()

    def _connection(self) -> Connection:
        return Connection(
            self._connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, then let requests in progress end."""
        if self._listener is not None:
            self._listener.close()
        await super().shutdown(sockets)
        self._connections.stop()

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
    raise_file_limit()
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
        http="h11",  # as `api.connections` extends it
        ws="none",
        proxy_headers=False,  # api.admission reads them, of LONGTAKE_TRUSTED_PROXIES alone
    )
    server = Server(config, app, settings)
    log.info("api.starting", host=settings.api_host, port=settings.api_port)
    with suppress(KeyboardInterrupt):  # uvicorn re-raises it after stopping
        server.run()
    log.info("api.stopped")
    return 0 if server.started else 3


def _connections(settings: Settings) -> Connections:
    patience = Patience(
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        body_rate=settings.body_bytes_per_second,
    )
    return Connections(limits_of(settings), patience, proxies=settings.trusted_proxies)


def _check(settings: Settings) -> None:
    """Check the settings before starting anything; raises SettingsError."""
    settings.require_database()
    settings.require_broker()
    Catalog.load(settings)
    accounts(settings)


if __name__ == "__main__":
    sys.exit(main())
