"""Ctrl-C on `longtake up` while a paid request is in flight: waited for and told, or cut off."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stack.servers.postgres import EmbeddedPostgres

LONGTAKE = Path(sys.executable).with_name("longtake")
#: How long a stack may take to start, and anything else to happen, in seconds.
START, BOUND = 120.0, 60.0
#: A POST that takes longer than a stop used to wait, in seconds.
LONG_POST = 45.0
TOLD = "1 paid request in flight at runway"


def came_true(what: Callable[[], bool], within: float = BOUND) -> bool:
    until = time.monotonic() + within
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Vendor:
    """Runway, as far as a submit goes: takes a POST, and answers it when it is told to."""

    posts: int = 0
    answer: threading.Event = field(default_factory=threading.Event)
    #: The longest that a POST is held, in seconds.
    holds: float = BOUND * 5

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, for as long as the block lasts."""
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                vendor.posts += 1
                vendor.answer.wait(vendor.holds)
                self._say({"id": "c0ffee00-0000-4000-8000-000000000001"})

            def do_GET(self) -> None:
                self._say({"id": self.path.rpartition("/")[2], "status": "PENDING"})

            def _say(self, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Nothing: `posts` tells."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self.answer.set()
            server.shutdown()
            server.server_close()


@dataclass
class Up:
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text()

    def press_ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ended(self, within: float) -> bool:
        return came_true(lambda: self.process.poll() is not None, within)


@contextmanager
def paying(folder: Path, vendor: Vendor) -> Iterator[Up]:
    """A stack whose POST has arrived at the vendor; stopped the hard way if a test did not."""
    output = folder / "up.out"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")}
    ports = dict.fromkeys(("LONGTAKE_API_PORT", "LONGTAKE_FLOWER_PORT", "LONGTAKE_SIM_PORT"), "0")
    with vendor.serving() as address:
        environment = {
            **kept,
            **ports,
            "LONGTAKE_DATA_DIR": str(folder),
            "RUNWAYML_API_SECRET": "key_for_tests_of_the_stop",
            "RUNWAYML_BASE_URL": address,
        }
        with output.open("wb") as file:
            process = subprocess.Popen(
                [LONGTAKE, "up"],
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        up = Up(process, output)
        try:
            assert came_true(lambda: "API key" in up.said or process.poll() is not None, START)
            subprocess.run(
                [LONGTAKE, "submit", "a fox", "--model", "gen4.5"],
                env=environment,
                check=True,
                capture_output=True,
                timeout=START,
            )
            assert came_true(lambda: vendor.posts == 1), up.said
            yield up
        finally:
            vendor.answer.set()
            process.terminate()
            try:
                process.wait(BOUND)
            except subprocess.TimeoutExpired:
                process.kill()


def attempts(folder: Path) -> list[str]:
    """The states of the attempts that the stack has left behind."""
    server = EmbeddedPostgres(folder)
    try:
        with psycopg.connect(server.start().url) as connection:
            return [row[0] for row in connection.execute("SELECT state FROM attempt").fetchall()]
    finally:
        server.stop()


def test_a_stop_says_what_it_waits_for_and_the_answer_is_not_lost(data_dir: Path) -> None:
    vendor = Vendor()
    with paying(data_dir, vendor) as up:
        # When Ctrl-C is pressed while the vendor thinks
        up.press_ctrl_c()

        # Then it says what it waits for, and ends when the answer is there
        assert came_true(lambda: TOLD in up.said, 15), up.said
        assert "press Ctrl-C again to stop now" in up.said
        vendor.answer.set()
        assert up.ended(BOUND)
        assert up.process.returncode == 0
    assert attempts(data_dir) == ["accepted"]


def test_ctrl_c_again_stops_at_once_and_says_what_it_costs(data_dir: Path) -> None:
    vendor = Vendor()
    with paying(data_dir, vendor) as up:
        up.press_ctrl_c()
        assert came_true(lambda: TOLD in up.said, 15), up.said

        # When it is pressed again
        up.press_ctrl_c()

        # Then nothing is waited for, and the money at risk is told
        assert up.ended(20), up.said
        assert up.process.returncode == 0
        assert f"Stopped at once, with {TOLD}: up to $0.6" in up.said
    assert attempts(data_dir) == ["sent"]


@pytest.mark.chaos
def test_a_post_of_most_of_a_minute_is_waited_for(data_dir: Path) -> None:
    vendor = Vendor(holds=LONG_POST)
    with paying(data_dir, vendor) as up:
        up.press_ctrl_c()
        assert up.ended(LONG_POST + BOUND)
    assert attempts(data_dir) == ["accepted"]
