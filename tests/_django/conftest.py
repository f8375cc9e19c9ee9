"""A Django project without apps, an API that says what it is told, and the broker's messages."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import django
import pytest
from django.conf import settings
from kombu import Connection

BROKER = "memory://"
SECRET = "a shared secret of many words"
BACKEND = {
    "BACKEND": "longtake.django.LongtakeBackend",
    "OPTIONS": {"BROKER_URL": BROKER, "TENANT": "acme"},
}

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    LONGTAKE={"WEBHOOK_SECRET": SECRET},
    ROOT_URLCONF="none",
    SECRET_KEY="only for tests",
    TASKS={"default": BACKEND},
    USE_TZ=True,
)
django.setup()


@dataclass
class Api:
    """Jobs that GET answers with, by path."""

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: list[str | None] = field(default_factory=list)


@pytest.fixture
def api() -> Iterator[Api]:
    told = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.keys.append(self.headers["Authorization"])
            job = told.jobs.get(self.path)
            missing = {"error": {"type": "invalid_request", "code": "not_found", "message": "no"}}
            body = json.dumps(job or missing).encode()
            self.send_response(200 if job else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing: pytest shows what a test did."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}"
        yield told
        server.shutdown()
        thread.join(10)


class Broker:
    """The intake's queue in this process."""

    def messages(self) -> list[dict[str, Any]]:
        """The arguments of all that were sent since the last look."""
        taken = []
        with Connection(BROKER) as connection, connection.SimpleQueue("intake") as queue:
            while queue.qsize():
                message = queue.get(block=False)
                message.ack()
                taken.append(message.payload[1])
        return taken


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.messages()
    return broker
