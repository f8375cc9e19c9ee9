"""Many threads that submit at once, each through one of several API processes."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from tests.faults.harness.client import Json

#: Threads that submit, and how long each waits for all to be ready, in seconds.
THREADS, TO_GATHER = 32, 30.0


@dataclass(slots=True)
class Answers:
    """What a crowd was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    #: The ids of the accepted jobs.
    accepted: list[str] = field(default_factory=list)
    #: The bodies of the refusals.
    refusals: list[Json] = field(default_factory=list)


def submit_at_once(urls: Sequence[str], bodies: Sequence[Json], *, key: str) -> Answers:
    """Submit all bodies from `THREADS` threads, which begin together and never repeat a request."""
    begin = threading.Barrier(THREADS)

    def work(number: int) -> list[httpx.Response]:
        url = urls[number % len(urls)]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            begin.wait(TO_GATHER)
            mine = bodies[number::THREADS]
            return [http.post("/v1/video/generations", json=body) for body in mine]

    seen = Answers()
    with ThreadPoolExecutor(THREADS) as pool:
        for answer in (each for answers in pool.map(work, range(THREADS)) for each in answers):
            seen.statuses[answer.status_code] += 1
            if answer.is_success:
                seen.accepted.append(answer.json()["id"])
            else:
                seen.refusals.append(answer.json()["error"])
    return seen
