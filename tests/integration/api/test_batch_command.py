"""`longtake batch` as a process against the whole of Longtake."""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, serving

pytestmark = pytest.mark.anyio
#: Seconds within which a command certainly ends.
SOON = 180.0
TABLE = """custom_id;prompt;duration_seconds;metadata.shop
"a/fox";"a ""red"" fox; quick";5;north

owl;[sim:fail] an owl;5;
;a cat;;
"""


@dataclass
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Command:
    """The command with a key of the tenant acme, in a folder of its own."""

    server: Longtake
    folder: Path

    async def start(self, *arguments: str, url: str | None = None) -> asyncio.subprocess.Process:
        environment = {
            "LONGTAKE_API_URL": url or self.server.url,
            "LONGTAKE_API_KEY": self.server.key,
            "LONGTAKE_DATA_DIR": str(self.folder),
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", "batch", *arguments),
            cwd=self.folder,
            env=environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def __call__(self, *arguments: str, given: str = "", url: str | None = None) -> Ended:
        process = await self.start(*arguments, url=url)
        try:
            async with asyncio.timeout(SOON):
                out, err = await process.communicate(given.encode())
        except TimeoutError:
            process.kill()
            raise
        return Ended(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
async def command(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Command]:
    async with serving(database_url, tmp_path / "served", simulator.env) as server:
        yield Command(server, tmp_path)


@dataclass
class Proxy:
    """Passes requests on; of a video it lets the first half through, and then nothing more."""

    server: Longtake
    #: Set once half of a video has come.
    is_half: asyncio.Event = field(default_factory=asyncio.Event)
    stalls: bool = True
    #: The heads of requests for videos.
    asked: list[str] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = urlsplit(self.server.url)
        behind, to_behind = await asyncio.open_connection(address.hostname, address.port)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            to_behind.write(re.sub(r"(?im)^connection:.*$", "Connection: close\r", head).encode())
            answer = await behind.read()
            half = len(answer)
            if "/content/" in head.partition("\r\n")[0]:
                self.asked.append(head)
                if self.stalls:
                    half = (answer.index(b"\r\n\r\n") + 4 + len(answer)) // 2
            writer.write(answer[:half])
            await writer.drain()
            if half < len(answer):
                self.is_half.set()
                await reader.read()  # until the command is gone
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the command is gone
        finally:
            for each in (writer, to_behind):
                each.close()
                with suppress(ConnectionError):
                    await each.wait_closed()


async def test_a_table_is_watched_to_its_end_and_its_results_are_the_ledgers(
    command: Command,
) -> None:
    ended = await command("submit", "-", "--watch", "-m", "runway-gen3", given=TABLE)

    assert ended.code == 1, ended.err
    batch_id = ended.err.splitlines()[0]
    assert "line 4 (owl): " in ended.err
    assert f"error: {batch_id}: of 3 lines, 2 complete, 1 failed" in ended.err
    shown = json.loads((await command("status", batch_id, "--json")).out)
    printed = (await command("results", batch_id)).out
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [(line["line"], line["custom_id"], line["status"]) for line in lines] == [
        (2, "a/fox", "complete"),
        (4, "owl", "failed"),
        (5, None, "complete"),
    ]
    assert lines[0]["job"]["prompt"] == 'a "red" fox; quick'
    assert lines[0]["job"]["metadata"] == {"shop": "north"}
    charged = await command.server.engine.database.fetch(
        "SELECT sum(amount_micros) AS micros FROM ledger_entry WHERE account = 'tenant:spent'"
    )
    costs = [line["job"]["cost_usd"] for line in lines if line["status"] == "complete"]
    assert charged[0]["micros"] == round(shown["cost_usd"] * 10**6) == round(sum(costs) * 10**6)
    retried = await command("retry", batch_id)
    assert retried.code == 0
    again = json.loads((await command("status", retried.out.strip(), "--json")).out)
    assert (again["retry_of"], again["counts"]["total"]) == (batch_id, 1)


async def test_videos_go_on_after_a_kill_in_the_middle_of_one(command: Command) -> None:
    submitted = await command("submit", "-", "--watch", given="a fox\n\nan owl\na cat\n")
    assert submitted.code == 0, submitted.err
    batch_id = submitted.err.splitlines()[0]
    proxy = Proxy(command.server)
    async with await asyncio.start_server(proxy.handle, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        process = await command.start("results", batch_id, "--videos", "home", url=url)
        async with asyncio.timeout(SOON):
            await proxy.is_half.wait()
            parts: list[Path] = []
            while not any(part.stat().st_size for part in parts):
                parts = await asyncio.to_thread(lambda: [*command.folder.glob("home/*.part")])
                await asyncio.sleep(0)
        process.kill()
        await process.communicate()
        proxy.stalls = False
        proxy.asked.clear()

        second = await command("results", batch_id, "--videos", "home", "-o", "r.jsonl", url=url)
        ranges = [head for head in proxy.asked if "range: bytes=" in head.lower()]
        proxy.asked.clear()
        third = await command("results", batch_id, "--videos", "home", url=url)

    assert second.code == third.code == 0, second.err + third.err
    assert ranges, "nothing was gone on with"
    assert "3 videos in home (3 downloaded, 0 were there)" in second.err
    assert "3 videos in home (0 downloaded, 3 were there)" in third.err
    assert proxy.asked == []
    lines = [json.loads(line) for line in (command.folder / "r.jsonl").read_text().splitlines()]
    manifest = (command.folder / "home" / "manifest.jsonl").read_text().splitlines()
    assert [line["line"] for line in lines] == [1, 3, 4]
    for line, told in zip(lines, map(json.loads, manifest), strict=True):
        (output,), (video,) = line["job"]["outputs"], told["videos"]
        assert video["file"] == f"{line['line']:06}-{line['job']['id']}.mp4"
        content = (command.folder / "home" / video["file"]).read_bytes()
        assert sha256(content).hexdigest() == output["sha256"] == video["sha256"]
    assert sorted(each.suffix for each in (command.folder / "home").iterdir()) == [
        *(".jsonl", ".mp4", ".mp4", ".mp4")
    ]


async def test_a_dry_run_writes_no_row_and_a_refusal_names_the_files_lines(
    command: Command,
) -> None:
    options = ("submit", "-", "-m", "runway-gen3", "--defaults", "duration_seconds=5")
    estimate = await command(*options, "--dry-run", given="a fox\nan owl\n")
    bad = '{"prompt": "a"}\n\n{"custom_id": "x", "prompt": "a", "sed": 1}'
    checked = await command(*options, "--dry-run", given=bad)
    refused = await command(*options, "--name", "bad", given=bad)
    poor = await command(*options, "--dry-run", "--max-cost-usd", "0.01", given="a fox\n")

    assert (estimate.code, estimate.out) == (0, "2 lines, 0 invalid, estimated at $1.20\n")
    assert (checked.code, refused.code, poor.code) == (2, 2, 2)
    for ended in (checked, refused):
        assert re.search(r"(?m)^3 +x +sed +", ended.err), ended.err
    assert "max_cost_usd" in poor.err
    rows = await command.server.engine.database.fetch(
        "SELECT (SELECT count(*) FROM batch) + (SELECT count(*) FROM job)"
        " + (SELECT count(*) FROM ledger_entry) AS number"
    )
    assert rows[0]["number"] == 0


async def test_ctrl_c_leaves_the_batch_running_and_says_how_to_come_back(
    command: Command,
) -> None:
    process = await command.start("submit", "-", "--watch")
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"[sim:never] a fox\n")
    process.stdin.close()
    async with asyncio.timeout(SOON):
        batch_id = (await process.stderr.readline()).decode().strip()
        await process.stderr.readline()  # the first look of the watch
        process.send_signal(2)
        _, err = await process.communicate()

    assert process.returncode == 130
    assert f"longtake batch status {batch_id} --watch" in err.decode()
    shown = json.loads((await command("status", batch_id, "--json")).out)
    assert shown["status"] == "in_progress"
    cancelled = json.loads((await command("cancel", batch_id, "--json")).out)
    assert cancelled["status"] == "cancelling"
