"""Large bodies of one tenant: `python -m benchmarks.bodies [N]` prints what another one waits.

One tenant sends N bodies of 25 MB at once (200 unless told), half of them pictures and half
millions of small values, from processes of their own. Another submits a job, reads it, cancels it
and waits for its webhook, again and again. The API is a process; this one delivers the webhooks.
"""

import asyncio
import json
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, cast

from benchmarks.body_sender import PATH, PATIENCE, ask
from benchmarks.hanging import Receiver, pump_once, serving
from benchmarks.processes import START_BOUND, Process
from benchmarks.stand import Stand, machine, standing
from logs import configure
from models.keys import create_key
from settings import load
from tasks.engine import Engine

BODIES: Final = 200
#: Processes that send them.
SENDERS: Final = 4
#: Rounds of the other tenant without a flood, the most of them beside one, and seconds in between.
ALONE, BESIDE, BETWEEN = 20, 400, 0.05
_OURS: Final = {
    "LONGTAKE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
    "LONGTAKE_LOG_LEVEL": "ERROR",  # nobody reads what the API prints
    "KLING_API_KEY": "key_of_the_benchmark",
    "RUNWAYML_API_SECRET": "key_of_the_benchmark",
    "RUNWAYML_BASE_URL": "http://127.0.0.1:9",
}

#: Seconds by what was waited for.
Waits = dict[str, list[float]]


class _Other:
    """The tenant that sends little."""

    def __init__(self, engine: Engine, port: int, key: str) -> None:
        self._engine, self._port, self._key = engine, port, key
        self.waits: Waits = {"GET": [], "submit": [], "cancel": [], "webhook": []}
        #: Answers that were not the expected ones.
        self.failed = Counter[str]()

    async def round(self, receiver: Receiver, webhook_port: int) -> None:
        wanted = {
            "prompt": "a fox in fresh snow",
            "webhook_url": f"http://127.0.0.1:{webhook_port}/",
            "webhook_secret": "a-secret-of-the-benchmark",
            "run_at": "2999-01-01T00:00:00Z",
        }
        job = await self._timed("submit", "POST", PATH, json.dumps(wanted).encode())
        if job is None:
            return
        path = f"{PATH}/{job['id']}"
        await self._timed("GET", "GET", path)
        receiver.came.clear()
        began = time.monotonic()
        if await self._timed("cancel", "POST", f"{path}/cancel") is None:
            return
        async with asyncio.TaskGroup() as both:
            both.create_task(pump_once(self._engine))
            await asyncio.wait_for(receiver.came.wait(), PATIENCE)
            self.waits["webhook"].append(time.monotonic() - began)

    async def _timed(
        self, name: str, method: str, path: str, body: bytes = b""
    ) -> dict[str, str] | None:
        began = time.monotonic()
        try:
            status, answer = await ask(self._port, self._key, method, path, body)
        except (TimeoutError, OSError, EOFError):
            status, answer = 0, b""
        self.waits[name].append(time.monotonic() - began)
        if status not in {200, 202}:
            self.failed[f"{name} {status}"] += 1
            return None
        return cast("dict[str, str]", json.loads(answer))


async def _run(engine: Engine, stand: Stand, port: int, api: Process, count: int) -> None:
    async def new_key(tenant: str) -> str:
        return (await engine.database.run(lambda connection: create_key(connection, tenant)))[1]

    flooding, key = await new_key("a"), await new_key("b")
    receiver = Receiver()
    async with serving(receiver.answer) as webhook_port:
        await _until_ready(port, key)
        alone, beside = _Other(engine, port, key), _Other(engine, port, key)
        for _ in range(ALONE):
            await alone.round(receiver, webhook_port)
        _show("alone", alone)
        began, answers = time.monotonic(), Counter[str]()
        with ExitStack() as senders:
            each = [
                senders.enter_context(process)
                for process in _senders(stand, port, flooding, count // SENDERS)
            ]
            lines = asyncio.gather(
                *(asyncio.to_thread(one.line, within=2 * PATIENCE) for one in each)
            )
            for _ in range(BESIDE):
                if lines.done():
                    break
                await beside.round(receiver, webhook_port)
                await asyncio.sleep(BETWEEN)
            for line in await lines:
                answers.update(json.loads(line))
    _show(f"beside {count} bodies of 25 MB", beside)
    print(f"their answers by status: {dict(answers)}, in {time.monotonic() - began:.0f} s")
    print(f"peak RSS of the API: {_peak(api) / 2**20:,.0f} MB")


async def _until_ready(port: int, key: str) -> None:
    async with asyncio.timeout(START_BOUND):
        while True:
            with suppress(OSError):
                if (await ask(port, key, "GET", "/readyz"))[0] == 200:  # noqa: PLR2004
                    return
            await asyncio.sleep(BETWEEN)


def _senders(stand: Stand, port: int, key: str, count: int) -> Iterator[Process]:
    for number in range(SENDERS):
        yield Process(
            *(f"flood-{number}", "benchmarks.body_sender", str(port), key, str(count)),
            environment=stand.environment(),
            logs=stand.folder,
        )


def _show(what: str, other: _Other) -> None:
    print(f"another tenant's waits {what}, in ms:")
    for name, waits in other.waits.items():
        if waits:
            both = waits * 2  # a centile needs two
            centiles = statistics.quantiles(both, n=100, method="inclusive")
            shown = (centiles[49], centiles[98], max(waits))
            print(
                f"  {name:8} {len(waits):4} times: "
                + ", ".join(
                    f"{label} {1000 * wait:,.0f}"
                    for label, wait in zip(("p50", "p99", "max"), shown, strict=True)
                )
            )
    if other.failed:
        print(f"  not answered as expected: {dict(other.failed)}")


def _peak(process: Process) -> int:
    """The largest resident size that the process had, in bytes."""
    (root, *_) = process.tree.processes()
    status = Path(f"/proc/{root.pid}/status").read_text()
    return next(int(line.split()[1]) * 2**10 for line in status.splitlines() if "VmHWM" in line)


def main() -> None:
    configure("WARNING", sys.stderr)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else BODIES
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with standing() as stand:
        print(machine(stand))
        environment = stand.environment(LONGTAKE_API_PORT=str(port), **_OURS)
        with Process("api", "api", environment=environment, logs=stand.folder) as api:

            async def work() -> None:
                engine = Engine.build(load(environment))
                try:
                    await _run(engine, stand, port, api, count)
                finally:
                    await engine.close()

            asyncio.run(work())


if __name__ == "__main__":
    main()
