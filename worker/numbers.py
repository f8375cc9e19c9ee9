"""A worker's own numbers on a port of its own: those of all processes of its pool, in one text.

With prefork the parent listens and the children write to memory that they share with it, each at
its place in the pool, so a child that replaces another goes on from its counts.
"""

import contextlib
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any, Final

import structlog
from billiard.process import current_process
from celery import signals

from settings import Settings, current
from storage.space import free_and_size
from tasks.measures import numbers

log = structlog.get_logger()

#: Processes of a pool that count each by themselves; more of them share and may lose counts.
MOST_PROCESSES: Final = 1024
#: Seconds for a scraper to send its request and take the answer.
PATIENCE: Final = 5.0


class Server(TCPServer):
    """One request at a time: a scraper asks every few seconds.

    Not `HTTPServer`, which asks a name server for its own name, while the worker waits.
    """

    allow_reuse_address = True

    def __init__(self, settings: Settings, queues: list[str]) -> None:
        if ":" in settings.metrics_host:
            self.address_family = socket.AF_INET6
        super().__init__((settings.metrics_host, settings.metrics_port), Handler)
        self.settings, self.queues = settings, queues
        self.started = time.time()

    def handle_error(self, *_: Any) -> None:
        """A scraper that hangs up or is too slow is its own trouble."""


class Handler(BaseHTTPRequestHandler):
    """Answers `/metrics` alone."""

    timeout = PATIENCE
    server: Server

    def do_GET(self) -> None:
        # Imported by the first scrape: a worker without a port never needs it.
        from metrics.text import CONTENT_TYPE_LATEST  # noqa: PLC0415

        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "only /metrics is here")
            return
        body = told(self.server)
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        # `timeout` is that of one byte: who sends them one by one would keep all others out.
        limit = threading.Timer(PATIENCE, _cut, (self.connection,))
        limit.daemon = True
        limit.start()
        try:
            super().handle()
        finally:
            limit.cancel()

    def log_message(self, *_: Any) -> None:
        """No line for each scrape."""


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        connection.shutdown(socket.SHUT_RDWR)


def serve(server: Server) -> None:
    """Answer until `shutdown`: a socket that is closed before would keep the thread awake."""
    with server:
        server.serve_forever()


def told(server: Server) -> bytes:
    """The worker's numbers in Prometheus' text format."""
    from metrics.text import by_label, gauge, of_numbers, written  # noqa: PLC0415 - as above

    free, size = free_and_size(server.settings.data_dir)
    return written(
        [
            *of_numbers(numbers),
            by_label(
                "longtake_worker_queue",
                "1 for each queue that this worker takes messages from.",
                "queue",
                dict.fromkeys(server.queues, 1.0),
            ),
            gauge(
                "longtake_worker_start_timestamp_seconds",
                "Unix time at which this worker was ready.",
                server.started,
            ),
            gauge("longtake_disk_free_bytes", "Free space of the data folder's disk.", free),
            gauge("longtake_disk_size_bytes", "Size of the data folder's disk.", size),
        ]
    )


_server: Server | None = None


@signals.celeryd_init.connect
def _share(**_: Any) -> None:
    """Before the pool's processes are made."""
    if current().metrics_port:
        numbers.share(MOST_PROCESSES)


@signals.worker_process_init.connect
def _take_place(**_: Any) -> None:
    """In a process of a prefork pool, which may have taken the place of another."""
    # The parent is the first region; places begin at 0.
    numbers.use(1 + int(getattr(current_process(), "index", 0)))


@signals.worker_ready.connect
def _listen(sender: Any, **_: Any) -> None:
    global _server  # noqa: PLW0603 - one for the process
    settings = current()
    if not settings.metrics_port:
        return
    queues = sorted(sender.app.amqp.queues.consume_from)
    try:
        _server = Server(settings, queues)
    except OSError as error:  # work goes on: numbers are for watching it
        log.error(  # noqa: TRY400 - no traceback says more
            "metrics.cannot_listen",
            host=settings.metrics_host,
            port=settings.metrics_port,
            reason=error.strerror,
        )
        return
    threading.Thread(target=serve, args=(_server,), name="longtake-numbers", daemon=True).start()
    log.info("metrics.listening", host=settings.metrics_host, port=_server.server_address[1])


@signals.worker_shutdown.connect
def stop(**_: Any) -> None:
    """Close the port soon."""
    if _server is not None:
        # It waits for the scraper of the moment: the worker does not.
        threading.Thread(target=_server.shutdown, daemon=True).start()


def _let_go() -> None:
    """In a forked child: it would keep the port of a parent that has died."""
    if _server is not None:
        _server.socket.close()


os.register_at_fork(after_in_child=_let_go)
