"""A webhook receiver that remembers every request, and is well, slow, failing or dead on demand."""

import hashlib
import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cli.demo.shots import picture

#: How long a slow receiver thinks, and a dead one holds its caller, in seconds.
SLOW, DEAD = 2.0, 4.0


class Mood(StrEnum):
    """How the receiver takes what comes."""

    WELL = "well"
    #: Answers 204, later.
    SLOW = "slow"
    #: Answers 500, having read everything.
    FAILING = "failing"
    #: Hangs up without an answer, after a while.
    DEAD = "dead"
    #: Takes it, and hangs up before it has said so.
    MUTE = "mute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One request as it came."""

    #: The `webhook-id`.
    id: str
    #: Of the body's bytes.
    sha256: str
    is_signed: bool
    type: str
    job: str
    status: str
    #: Whether it was answered with 2xx.
    is_taken: bool


def secret_of(name: str) -> str:
    """The secret of the receiver called `name`, as whoever knows its path can work out."""
    return f"whsec_{b64encode(hashlib.sha256(name.encode()).digest()).decode()}"


class Receiver:
    """Serves `/hooks/<name>`, each with a secret of its own, and a picture."""

    def __init__(self) -> None:
        self.mood = Mood.WELL
        self.receipts: list[Receipt] = []
        self.well = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hooks/{name}"

    @property
    def picture(self) -> str:
        """A link to a picture."""
        return f"http://127.0.0.1:{self._server.server_port}/picture.png"

    def feel(self, mood: Mood) -> None:
        """From now on; those who wait because of the last mood wait on."""
        self.mood = mood

    def of(self, job: str) -> list[Receipt]:
        """What came about one job."""
        with self._lock:
            return [receipt for receipt in self.receipts if receipt.job == job]

    def remember(self, receipt: Receipt) -> None:
        with self._lock:
            self.receipts.append(receipt)

    def close(self) -> None:
        self.well.set()  # whoever hangs is let go
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def _handler_of(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            mood = receiver.mood
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            takes = mood in {Mood.WELL, Mood.SLOW}
            receiver.remember(
                receipt_of(self.path, dict(self.headers.items()), body, is_taken=takes)
            )
            if mood is Mood.SLOW:
                receiver.well.wait(SLOW)
            if mood is Mood.DEAD:
                receiver.well.wait(DEAD)
            if mood in {Mood.DEAD, Mood.MUTE}:
                self.close_connection = True
                return
            self.send_response(204 if takes else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            content = b64decode(picture(640, 360).partition(",")[2])
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
            """Nothing: the receipts are the log."""

    return Handler


def receipt_of(path: str, headers: dict[str, str], body: bytes, *, is_taken: bool) -> Receipt:
    message = json.loads(body)
    lower = {name.lower(): value for name, value in headers.items()}
    return Receipt(
        id=lower.get("webhook-id", ""),
        sha256=hashlib.sha256(body).hexdigest(),
        is_signed=_is_signed(secret_of(path.rpartition("/")[2]), lower, body),
        type=message["type"],
        job=message["data"]["id"],
        status=message["data"]["status"],
        is_taken=is_taken,
    )


def _is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """By the verdict of the package that receivers use, not by our own code."""
    try:
        Webhook(secret).verify(body.decode(), headers)
    except WebhookVerificationError:
        return False
    return True
