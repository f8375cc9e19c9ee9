"""What the tests of the commands script and read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: A job as the API shows it, complete.
JOB: dict[str, Any] = {
    "id": "job_vid_1",
    "status": "complete",
    "model": "runway-gen3",
    "prompt": "A [bold] fox",
    "duration_seconds": 5,
    "size": "1280x720",
    "progress_percent": 100,
    "progress_source": "reported",
    "estimated_cost_usd": 0.6,
    "cost_usd": 0.6,
}


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeApi:
    """Answers each request with the next scripted answer, the last one for ever."""

    url: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=lambda: [(200, JOB)])
    asked: list[Asked] = field(default_factory=list)

    def next(self) -> tuple[int, Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def refuse(self, status: int, message: str, *, kind: str = "invalid_request") -> None:
        self.answers = [(status, {"error": {"type": kind, "message": message}})]


@dataclass
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]
