"""A vendor of its own: Runway's wire from its documents alone, which stumbles for minutes on end.

It shares nothing with the simulator or with our adapters, so that it judges both. As a program:
`python -m tests.faults.harness.stubborn --port 8200 --denies 60 --refuses 240`.
"""

import argparse
import io
import json
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import av

#: The version header that every call must carry.
VERSION = "2024-11-06"
#: Frames of a video, and how many of them are a second.
FRAMES, RATE = 24, 12


@dataclass(slots=True, kw_only=True)
class Vendor:
    """What it has accepted, and how long it stumbles from the first request of a kind on."""

    #: Seconds in which every poll is answered with 404, and every download with 503.
    denies: float = 0.0
    refuses: float = 0.0
    #: Seconds that a task takes.
    runs: float = 3.0
    #: When each task was accepted, by its id, and the prompts that were paid for.
    tasks: dict[str, float] = field(default_factory=dict)
    paid: list[str] = field(default_factory=list)
    #: How often each kind of request was answered so.
    answered: Counter[str] = field(default_factory=Counter)
    _first: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, prompt: str) -> str:
        with self._lock:
            task = str(uuid.uuid4())
            self.tasks[task] = time.monotonic()
            self.paid.append(prompt)
            return task

    def stumbles(self, kind: str, seconds: float) -> bool:
        """Whether less than so many seconds have passed since the first of its kind."""
        with self._lock:
            began = self._first.setdefault(kind, time.monotonic())
            is_so = time.monotonic() < began + seconds
            self.answered[f"{kind} {'denied' if is_so else 'answered'}"] += 1
            return is_so

    def state(self, task: str, link: str) -> dict[str, object]:
        """The task as it is told; a finished one names its video."""
        done = (time.monotonic() - self.tasks[task]) / self.runs
        told: dict[str, object] = {"id": task, "createdAt": "2026-01-01T00:00:00.000Z"}
        if done < 1:
            return told | {"status": "RUNNING", "progress": round(done, 3)}
        return told | {"status": "SUCCEEDED", "output": [link], "cost": {"credits": 25}}


@cache
def film() -> bytes:
    """Two seconds of grey, as MP4."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame(320, 180, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([96 + number]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def server_of(vendor: Vendor, *, port: int = 0) -> ThreadingHTTPServer:
    """A server on this machine's own address; who made it runs and closes it."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", port), type("Handler", (_Handler,), {"vendor": vendor})
    )
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """One connection; a subclass says whose."""

    vendor: ClassVar[Vendor]
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        if self.path not in {"/v1/text_to_video", "/v1/image_to_video"}:
            self._say(HTTPStatus.NOT_FOUND, {"error": "no such route"})
        elif self._is_let_in():
            self._say(HTTPStatus.OK, {"id": self.vendor.accept(str(body["promptText"]))})

    def do_GET(self) -> None:
        kind, _, name = self.path.rpartition("/")
        if kind == "/v1/tasks":
            self._poll(name)
        elif kind == "/videos":
            self._download()
        else:
            self._say(HTTPStatus.NOT_FOUND, {"error": "no such route"})

    def _poll(self, task: str) -> None:
        if not self._is_let_in():
            return
        denied = self.vendor.stumbles("poll", self.vendor.denies)
        if denied or task not in self.vendor.tasks:
            self._say(HTTPStatus.NOT_FOUND, {"error": "Task not found."})
        else:
            link = f"http://{self.headers['host']}/videos/{task}.mp4"
            self._say(HTTPStatus.OK, self.vendor.state(task, link))

    def _download(self) -> None:
        if self.vendor.stumbles("download", self.vendor.refuses):
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "try again later"})
        else:
            self._send(HTTPStatus.OK, film(), "video/mp4")

    def do_DELETE(self) -> None:
        if self._is_let_in():
            self.vendor.tasks.pop(self.path.rpartition("/")[2], None)
            self._send(HTTPStatus.NO_CONTENT, b"", "application/json")

    def _is_let_in(self) -> bool:
        is_keyed = self.headers.get("authorization", "").startswith("Bearer key_")
        if is_keyed and self.headers.get("x-runway-version") == VERSION:
            return True
        self._say(HTTPStatus.UNAUTHORIZED, {"error": "key or version is missing"})
        return False

    def _say(self, status: HTTPStatus, body: object) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        """Nothing: the counters are the log."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A vendor that stumbles for a while.")
    parser.add_argument("--port", type=int, required=True)
    for name in ("denies", "refuses"):
        parser.add_argument(f"--{name}", type=float, default=0.0, help="seconds")
    asked = parser.parse_args()
    with server_of(Vendor(denies=asked.denies, refuses=asked.refuses), port=asked.port) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
