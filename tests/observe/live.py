"""`python -m tests.observe.live`: a stack with work, watched by a real Prometheus on loopback.

Every panel's query must be answered with data, and four alerts must fire when what they tell of
happens: no beat, no worker, money in doubt, a provider's errors. It ends by itself within minutes.
"""

import asyncio
import json
import math
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from cli.api import Api
from cli.demo.receiver import Receiver, receiving
from cli.demo.shots import plan
from cli.waiting import FINAL
from models import accounts as rules
from models.database import Database
from providers.registry import names_credentials
from settings import STACK_FILE, environment
from stack.roles import WORKERS
from stack.stack import Stack, running
from tests.observe.panels import BOARDS
from tests.observe.prometheus import ROOT, program

#: Seconds for the jobs, for one alert, and between two looks.
JOBS_BOUND, ALERT_BOUND, LOOK = 150.0, 90.0, 0.5
#: A model of another provider than the one that is paused.
LATE = "ray-3.2"
#: Seconds that a panel shows: the whole run.
SHOWN = 400.0
#: What a minute is in the rules here: they are asked the same, only sooner.
HURRIED: Final = (
    (r"for: \d+m", "for: 1s"),
    (r"\[\d+m\]", "[20s]"),
    (r"interval: 15s", "interval: 1s"),
    (r"longtake_tick_age_seconds\) > 60", "longtake_tick_age_seconds) > 12"),
)
#: What a healthy run has not, as the database would hold it: an account that is refused, and rows
#: that our own work fails on. They are the last to be made, and nothing works on them.
PLANTED: Final = (
    """
    INSERT INTO account_rule (name, block_code, blocked_at, probe_at)
    VALUES ('veo:refused', 'provider_auth', now(), now() + interval '1 hour')
    """,
    "UPDATE due SET faults = 1 WHERE what = 'expire'",
)


class Watched:
    """A stack, and the Prometheus that scrapes it."""

    def __init__(self, stack: Stack, url: str) -> None:
        self.stack = stack
        self._client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=10)
        self._simulator = httpx.AsyncClient(
            base_url=str(stack.simulator_url), trust_env=False, timeout=10
        )

    async def close(self) -> None:
        await self._client.aclose()
        await self._simulator.aclose()

    async def values(self, query: str, *, since: float = 0.0) -> list[float]:
        """The finite values that a query gives now, or in the last `since` seconds, as a panel."""
        now = time.time()
        times = {"start": now - since, "end": now, "step": 1}
        answer = await self._client.get("/api/v1/query_range", params={"query": query, **times})
        found = answer.raise_for_status().json()["data"]["result"]
        return [
            value
            for each in found
            for _, text in each["values"]
            if math.isfinite(value := float(text))
        ]

    async def firing(self) -> set[str]:
        answer = await self._client.get("/api/v1/alerts")
        alerts = answer.raise_for_status().json()["data"]["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    async def fault(self, **fault: Any) -> None:
        (await self._simulator.post("/_sim/faults", json=[fault])).raise_for_status()

    def pid(self, name: str) -> int:
        pids = json.loads((self.stack.data_dir / STACK_FILE).read_text())["pids"]
        return int(pids[name])

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A process of the stack does nothing for the block, and is not replaced."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def watched(folder: Path, prometheus: str) -> AsyncIterator[Watched]:
    """Run a stack in the folder, and Prometheus with our rules, in a hurry."""
    first, port = _free_ports(len(WORKERS)), _free_ports(1)
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(
            running(_environment(folder, metrics_port=first), simulate=True, tell=_say)
        )
        configuration = _configure(folder, stack, first)
        log = exits.enter_context((folder / "prometheus.log").open("wb"))
        process = subprocess.Popen(  # noqa: ASYNC220 - it takes no time
            [
                prometheus,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        exits.callback(_end, process)
        ours = Watched(stack, f"http://127.0.0.1:{port}")
        exits.push_async_callback(ours.close)
        await _until(lambda: _are_up(ours, len(WORKERS) + 1), "Prometheus reads all processes")
        yield ours


async def _are_up(ours: Watched, processes: int) -> bool:
    try:
        return await ours.values("sum(up)") == [processes]
    except httpx.HTTPError:
        return False


def _environment(folder: Path, *, metrics_port: int) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environment().items()
        if not name.startswith("LONGTAKE_") and not names_credentials(name)
    }
    ports = ("LONGTAKE_API_PORT", "LONGTAKE_FLOWER_PORT", "LONGTAKE_SIM_PORT")
    return {
        **kept,
        **dict.fromkeys(ports, "0"),
        "LONGTAKE_DATA_DIR": str(folder / "stack"),
        "LONGTAKE_METRICS_PORT": str(metrics_port),
    }


def _configure(folder: Path, stack: Stack, first: int) -> Path:
    text = (ROOT / "observe/rules.yml").read_text()
    for usual, hurried in HURRIED:
        text, times = re.subn(usual, hurried, text)
        assert times, f"observe/rules.yml has no {usual}"
    (folder / "rules.yml").write_text(text)
    workers = [f"127.0.0.1:{first + number}" for number in range(len(WORKERS))]
    targets = {"longtake-api": [stack.api_url.removeprefix("http://")], "longtake-worker": workers}
    configuration = {
        "global": {
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "evaluation_interval": "1s",
        },
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": each}]}
            for job, each in targets.items()
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first + count < 65_000 and all(map(_is_free, range(first, first + count))):
            return first
    raise AssertionError("no free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


async def _until(
    what: Callable[[], Awaitable[bool]], told: str, *, bound: float = ALERT_BOUND
) -> None:
    began = time.monotonic()
    while not await what():
        if time.monotonic() - began > bound:
            raise TimeoutError(f"not within {bound:.0f} s: {told}")
        await asyncio.sleep(LOOK)
    _say(f"  {time.monotonic() - began:5.1f} s  {told}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command


# -- what is done ---------------------------------------------------------------------------------


async def work(ours: Watched, receiver: Receiver, secret: str) -> None:
    """One job of every model, and what makes the last panels' data."""
    with Api(ours.stack.api_url, ours.stack.api_key) as api:
        models = await asyncio.to_thread(api.models)
        webhook = {"webhook_url": receiver.url, "webhook_secret": secret}
        shots = plan(models, wanted=24, webhook=webhook)
        ids = [(await asyncio.to_thread(api.submit, shot.body))["id"] for shot in shots]

        async def are_final() -> bool:
            page = await asyncio.to_thread(lambda: api.jobs(limit=100))
            status = {job["id"]: job["status"] for job in page["data"]}
            return all(status[each] in FINAL for each in ids)

        await _until(are_final, f"{len(ids)} jobs have ended", bound=JOBS_BOUND)

        # A lost answer, then a provider whose polls all fail.
        await ours.fault(
            provider="runway", on="submit", do="drop_after_accept", match_prompt="is lost"
        )
        await asyncio.to_thread(api.submit, {"prompt": "a letter is lost", "model": "gen4.5"})
        await _until(lambda: _fires(ours, "UnknownMoney"), "UnknownMoney fires")
        await ours.fault(provider="runway", on="poll", do="status", status=500, seconds=120)
        for number in range(4):
            body = {"prompt": f"a quiet sea, {number}", "model": "gen4.5"}
            await asyncio.to_thread(api.submit, body)
        await _until(lambda: _fires(ours, "ProviderErrors"), "ProviderErrors fires")

        # An account that is paused, and an attempt that waits for it.
        database = Database(ours.stack.settings.require_database(), connections=2)
        try:
            await database.run(
                lambda on: rules.pause(on, "runway", whole=False, seconds=None, reason=None)
            )
            await asyncio.to_thread(api.submit, {"prompt": "a patient sea", "model": "gen4.5"})
            for statement in PLANTED:
                await database.fetch(statement)
        finally:
            await database.close()


async def panels(ours: Watched) -> list[str]:
    """The panels with a query that is not answered with data."""
    empty = []
    for board in BOARDS:
        for _, shown in board.rows:
            for panel in shown:
                for query, _legend in panel.queries:
                    asked = query.replace("$__rate_interval", "1m")
                    if not await ours.values(asked, since=SHOWN):
                        empty.append(f"{board.title}, {panel.title}: {query}")
    return empty


async def alerts(ours: Watched) -> None:
    """Freeze beat, and a worker: each is told of."""
    before = await ours.firing()
    assert not before & {"NoBeat", "NoWorker", "NoApi"}, before
    with ours.frozen("beat"):
        await _until(lambda: _fires(ours, "NoBeat"), "NoBeat fires")
    with ours.frozen("worker-submit"), Api(ours.stack.api_url, ours.stack.api_key) as api:
        await asyncio.to_thread(api.submit, {"prompt": "a late sea", "model": LATE})
        await _until(lambda: _fires(ours, "NoWorker"), "NoWorker fires")
        await _until(lambda: _waits(ours), "what is due is told")
    await _until(lambda: _are_over(ours), "both are over")


async def _waits(ours: Watched) -> bool:
    return bool(await ours.values('longtake_due_rows{what="submit"}'))


async def _fires(ours: Watched, alert: str) -> bool:
    return alert in await ours.firing()


async def _are_over(ours: Watched) -> bool:
    return not await ours.firing() & {"NoBeat", "NoWorker"}


async def run(folder: Path, prometheus: str) -> int:
    """Returns the exit code."""
    secret = f"whsec_{secrets.token_hex(16)}"
    async with receiving(secret) as receiver, watched(folder, prometheus) as ours:
        await work(ours, receiver, secret)

        async def have_data() -> bool:
            return not await panels(ours)

        await alerts(ours)
        count = sum(len(panel.queries) for b in BOARDS for _, row in b.rows for panel in row)
        try:
            await _until(have_data, f"all {count} queries of the panels have data", bound=30)
        except TimeoutError:
            for each in await panels(ours):
                _say(f"no data: {each}")
            return 1
    return 0


def main() -> int:
    prometheus = program("prometheus")
    if prometheus is None:
        _say("There is no Prometheus here: nothing was run")
        return 2
    with tempfile.TemporaryDirectory(prefix="longtake-observe-") as folder:
        return asyncio.run(run(Path(folder), prometheus))


if __name__ == "__main__":
    sys.exit(main())
