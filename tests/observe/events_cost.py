"""`python -m tests.observe.events_cost`: what telling Flower of jobs costs, in CPU time per job."""

import tempfile
import time
from pathlib import Path

from redis import Redis

from models.moves import Move
from stack.servers.valkey import EmbeddedValkey

#: Jobs in all, and at once: fewer events than the queue holds.
JOBS, AT_ONCE = 5000, 250
STATES = ("pending", "submitting", "processing", "storing", "complete")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        Path(folder).chmod(0o711)
        valkey = EmbeddedValkey(Path(folder))
        url = valkey.start().url
        try:
            _measure(url)
        finally:
            valkey.stop()


def _measure(url: str) -> None:
    from tasks import job_events, measures, queue  # noqa: PLC0415 - reads the broker's address

    queue.app.conf.update(broker_url=url)
    teller = job_events.Teller("main@host")
    teller.tell([_move(0, "storing")])  # starts the thread
    with Redis.from_url(url) as client, client.pubsub() as flower:
        flower.psubscribe("/*celeryev*")
        began, cpu, told = time.perf_counter(), time.process_time(), 0.0
        for first in range(0, JOBS, AT_ONCE):
            moves = [
                _move(number, state) for number in range(first, first + AT_ONCE) for state in STATES
            ]
            before = time.thread_time()
            teller.tell(moves)
            told += time.thread_time() - before
            while not teller._waiting.empty():  # noqa: SLF001 - until it is sent
                time.sleep(0.01)
        teller.close()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    dropped = sum(
        each.cells[0]
        for family, sums in measures.numbers.read()
        for each in sums
        if family.name == measures.EVENTS_DROPPED.name
    )
    events = JOBS * (len(STATES) - 1)
    print(  # noqa: T201 - a command
        f"{events} events of {JOBS} jobs in {took:.1f} s: {events / took:,.0f} events/s, "
        f"{1e6 * cpu / JOBS:.0f} µs CPU per job, of these {1e6 * told / JOBS:.0f} µs on the "
        f"caller's thread; {dropped:.0f} dropped"
    )


def _move(number: int, state: str) -> Move:
    return Move(job=f"job_vid_{number:026d}", tenant="t", model="gen4.5", state=state, age=1.0)


if __name__ == "__main__":
    main()
