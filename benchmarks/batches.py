"""Lines of a batch accepted per second, against the bare COPY of the same rows.

Both arms write the same rows, sealed fields and all, to the same tables with all their indexes. The
process that accepts batches takes a small one first: what its memory grows by afterwards is what a
large one needs beyond a small one.
"""

import json
import os
import time
from collections.abc import Mapping

import psycopg

from benchmarks.processes import START_BOUND, Meter, Process, Tree
from benchmarks.report import Contender, Reading, Report, Target
from benchmarks.stand import Stand

LINES, FEW = 100_000, 1_000
#: The most that 100,000 lines may need beyond 1,000, in bytes.
GROWTH = 20 * 10**6
#: Timeout of one batch, in seconds.
_BOUND = 600.0
_KEY = "key_for_the_benchmark"
_TABLES = ("job", "attempt", "output", "event", "due", "ledger_entry")


def measure(stand: Stand, *, rounds: int) -> Report:
    """Accept and copy in turn, `rounds` times, after one small uncounted batch."""
    accepted, copied, grown = list[Reading](), list[Reading](), list[int]()
    for _ in range(rounds):
        with _process(stand) as process:
            few = _ask(process, FEW)["peak_memory"]
            _emptied(stand)
            meter = Meter(process.tree, stand.database)
            with meter:
                answer = _ask(process, LINES)
        grown.append(int(answer["peak_memory"] - few))
        accepted.append(_reading(meter, answer["seconds"], memory=int(answer["peak_memory"])))
        rows = _rows(stand)
        _emptied(stand)
        copied.append(_copied(stand, rows))
        _emptied(stand)
    contenders = [Contender("accepted", accepted), Contender("bare COPY", copied)]
    return Report(
        name=f"batches: lines per second, {LINES:,} at once",
        unit="lines",
        contenders=contenders,
        targets=[
            Target(
                words="accepted / bare COPY",
                at_least=0.5,
                ratios=contenders[0].against(contenders[1]),
            ),
            Target(
                words=f"{GROWTH / 10**6:.0f} MB / growth of memory beyond {FEW:,} lines",
                at_least=1.0,
                ratios=[GROWTH / max(one, 1) for one in grown],
            ),
        ],
    )


def _process(stand: Stand) -> Process:
    environment = stand.environment(RUNWAYML_API_SECRET=_KEY)
    return Process("intake", "benchmarks.batch_intake", environment=environment, logs=stand.folder)


def _ask(process: Process, lines: int) -> Mapping[str, float]:
    found: Mapping[str, float] = json.loads(process.ask(str(lines), within=START_BOUND + _BOUND))
    return found


def _reading(meter: Meter, seconds: float, *, memory: int) -> Reading:
    return Reading(
        done=LINES,
        seconds=seconds,
        cpu_seconds=meter.cpu_seconds,
        database_seconds=meter.database_seconds,
        peak_memory=memory,
    )


def _rows(stand: Stand) -> Mapping[str, bytes]:
    with psycopg.connect(stand.database_url) as connection:
        found = {}
        for name in _TABLES:
            statement = f"COPY (SELECT * FROM {name}) TO STDOUT"  # noqa: S608 - constants
            with connection.cursor().copy(statement) as copy:
                found[name] = b"".join(bytes(piece) for piece in copy)
        return found


def _copied(stand: Stand, rows: Mapping[str, bytes]) -> Reading:
    meter = Meter(Tree(os.getpid()), stand.database)
    with psycopg.connect(stand.database_url) as connection, meter:
        began = time.perf_counter()
        for name, text in rows.items():
            with connection.cursor().copy(f"COPY {name} FROM STDIN") as copy:
                copy.write(text)
        connection.commit()
        seconds = time.perf_counter() - began
    return _reading(meter, seconds, memory=meter.peak_memory)


def _emptied(stand: Stand) -> None:
    names = ", ".join((*_TABLES, "batch_change", "batch"))
    with psycopg.connect(stand.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {names} CASCADE")
        connection.execute("CHECKPOINT")
