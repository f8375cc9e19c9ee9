"""What the clients of polls cost, with TLS and without: GETs per second, and CPU for each.

Both fetch the same small answer from one vendor, 64 at a time on kept connections. Of the vendor's
own CPU nothing is counted, but it shares the machine: read CPU for each rather than the rate.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import certificate
from benchmarks.bare_loop import CLIENTS
from benchmarks.processes import START_BOUND, Meter, Process
from benchmarks.report import Contender, Reading, Report, Target
from benchmarks.stand import Stand
from benchmarks.worker import pointed_at

#: Seconds of a run, and its time-out.
SECONDS, RUN_BOUND = 4.0, 30.0


def measure(stand: Stand, *, rounds: int) -> Report:
    """Run every client `rounds` times on each kind of connection, in turn."""
    with _loops(stand) as loops:
        readings: dict[str, list[Reading]] = {name: [] for name in loops}
        for _ in range(rounds):
            for name, loop in loops.items():
                readings[name].append(_run(loop, stand))
    found = {name: Contender(name, of_one) for name, of_one in readings.items()}
    return Report(
        name="clients: GETs per second, and their CPU",
        unit="GETs",
        contenders=[*found.values()],
        targets=[
            Target(
                words=f"CPU of aiohttp / of the getter, {kind}",
                at_least=3.0,
                ratios=_ratios(found[f"aiohttp, {kind}"], found[f"getter, {kind}"]),
            )
            for kind in ("plain", "TLS")
        ],
    )


def _ratios(theirs: Contender, ours: Contender) -> list[float]:
    """Of the CPU for each GET, round by round: the vendor has part in the rates."""
    return [
        (before.cpu_seconds / before.done) / (now.cpu_seconds / now.done)
        for before, now in zip(theirs.readings, ours.readings, strict=True)
    ]


def _run(loop: Process, stand: Stand) -> Reading:
    with Meter(loop.tree, stand.database) as meter:
        told = loop.ask(f"c- 1000 {SECONDS}", within=RUN_BOUND)
    return Reading(
        done=int(told),
        seconds=meter.seconds,
        cpu_seconds=meter.cpu_seconds,
        database_seconds=meter.database_seconds,
        peak_memory=meter.peak_memory,
    )


@contextmanager
def _loops(stand: Stand) -> Iterator[dict[str, Process]]:
    """A loop for each client and kind of connection."""
    file = stand.folder / "vendor.pem"
    certificate.make(file)
    loops: dict[str, Process] = {}
    with ExitStack() as stack:

        def start(name: str, *arguments: str, **more: str) -> tuple[Process, str]:
            process = Process(
                name, *arguments, environment=stand.environment(**more), logs=stand.folder
            )
            stack.enter_context(process)
            return process, process.line(within=START_BOUND)

        for kind, how in (("plain", []), ("TLS", [str(file)])):
            _, url = start(f"vendor-{kind}", "benchmarks.upstream", "none", *how)
            for client in CLIENTS:
                loops[f"{client}, {kind}"], _ = start(
                    f"{client}-{kind}",
                    "benchmarks.bare_loop",
                    client,
                    SSL_CERT_FILE=str(file),
                    **pointed_at(url),
                )
        yield loops
