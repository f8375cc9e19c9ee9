"""A simulator in a process of its own, as Longtake's users run it, shared by the whole run."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]

#: An operation takes 0.24 to 0.8 s.
SPEED = "100"


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator: `url` is its address, `env` points a client at it."""

    url: str
    env: Mapping[str, str]

    def bill(self) -> list[dict[str, object]]:
        """One row for every paid POST that was accepted since the test began."""
        return self._data("bill")

    def polls(self) -> dict[str, int]:
        """How often each operation has been polled, by operation id."""
        return {str(row["operation_id"]): int(str(row["polls"])) for row in self._data("polls")}

    def faults(self, faults: Sequence[Mapping[str, object]]) -> None:
        """Strike coming requests: see `POST /_sim/faults`."""
        answer = httpx.post(f"{self.url}/_sim/faults", json=list(faults), trust_env=False)
        assert answer.status_code == 200, answer.text

    def reset(self) -> None:
        """Forget every operation, charge and fault."""
        httpx.post(f"{self.url}/_sim/reset", trust_env=False).raise_for_status()

    def _data(self, name: str) -> list[dict[str, object]]:
        answer = httpx.get(f"{self.url}/_sim/{name}", trust_env=False).raise_for_status()
        rows: list[dict[str, object]] = answer.json()["data"]
        return rows


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[Simulator]:
    command = [sys.executable, "-m", "simulator", "--port", "0", "--speed", SPEED]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            env = httpx.get(f"{url}/_sim/env", trust_env=False).raise_for_status().json()
            yield Simulator(url, env)
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture
def simulator(simulator_process: Simulator) -> Simulator:
    """The simulator with nothing on its bill and no faults pending."""
    simulator_process.reset()
    return simulator_process
