"""A worker's own numbers on a port of its own: those of all processes of its pool, in one text.

With prefork the parent listens and the children write to memory that they share with it, each at
its place in the pool, so a child that replaces another goes on from its counts.
"""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
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


class _Server(HTTPServer):
    """One request at a time: a scraper asks every few seconds."""

    allow_reuse_address = True

    def __init__(self, settings: Settings, queues: list[str]) -> None:
        super().__init__((settings.metrics_host, settings.metrics_port), _Handler)
        self.settings, self.queues = settings, queues
        self.started = time.time()

    def handle_error(self, *_: Any) -> None:
        """A scraper that hangs up or is too slow is its own trouble."""


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE
    server: _Server

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

    def log_message(self, *_: Any) -> None:
        """No line for each scrape."""


def told(server: _Server) -> bytes:
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


_server: _Server | None = None


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
        _server = _Server(settings, queues)
    except OSError as error:  # work goes on: numbers are for watching it
        log.error(  # noqa: TRY400 - no traceback says more
            "metrics.cannot_listen",
            host=settings.metrics_host,
            port=settings.metrics_port,
            reason=error.strerror,
        )
        return
    threading.Thread(target=_server.serve_forever, name="longtake-numbers", daemon=True).start()
    log.info("metrics.listening", host=settings.metrics_host, port=_server.server_port)


@signals.worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _server is not None:
        _server.server_close()


def _let_go() -> None:
    """In a forked child: it would keep the port of a parent that has died."""
    if _server is not None:
        _server.socket.close()


os.register_at_fork(after_in_child=_let_go)
