"""The simulated vendors of a fault test, in a process of their own, calm or in a storm."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import Simulator
from tests.faults.harness.processes import Process

#: At this speed a video takes 0.24 to 0.8 s.
SPEED = "100"

#: Everything that can become of a request.
MISFORTUNES = ("status", "drop_after_accept", "drop_before_accept", "hang", "garbage", "fail")


class Upstreams(Simulator):
    """A simulator whose faults can be ended."""

    def succeeded(self) -> set[tuple[str, str]]:
        """Provider and id of every operation whose video was made."""
        return {
            (str(row["provider"]), str(row["operation_id"]))
            for row in self._data("operations")
            if row["phase"] == "succeeded"
        }

    def calm(self) -> None:
        """No faults from now on; the bill and the operations stay."""
        for path in ("faults", "chaos"):
            self.http.delete(f"/_sim/{path}").raise_for_status()

    def storm(self, *, seed: int, rate: float) -> None:
        """From now on each request is struck with probability `rate`, by any misfortune."""
        chaos = {"seed": seed, "rate": rate, "do": MISFORTUNES}
        self.http.post("/_sim/chaos", json=chaos).raise_for_status()


@contextmanager
def upstreams(logs: Path, options: Sequence[str]) -> Iterator[Upstreams]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def answers(_: Process) -> bool:
        try:
            return httpx.get(f"{url}/_sim/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    command = (sys.executable, "-P", "-m", "simulator", "--port", str(port))
    process = Process(
        "simulator",
        (*command, "--speed", SPEED, "--tiny", *options),
        environment=os.environ,
        logs=logs,
        is_ready=answers,
    )
    process.start()
    try:
        process.ready()
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            env = http.get("/_sim/env").raise_for_status().json()
            yield Upstreams(url, env, http)
    finally:
        process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
