"""`longtake up` as its users see it: what it tells, what survives, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from providers.registry import is_vendor_variable
from stack.folder import Folder
from stack.servers.server import living, mark_of

LONGTAKE = Path(sys.executable).with_name("longtake")
#: How long a stack may take to start, and anything else to happen, in seconds.
START, BOUND = 120, 60
VENDORS = "vendors' variables"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A user's, without what the machine that runs the tests is configured for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")}
    ports = dict.fromkeys(("LONGTAKE_API_PORT", "LONGTAKE_FLOWER_PORT", "LONGTAKE_SIM_PORT"), "0")
    return kept | ports | {"LONGTAKE_DATA_DIR": str(folder)} | more


def longtake(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LONGTAKE, *arguments],
        check=False,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=START,
    )


def eventually(what: Callable[[], bool], *, bound: float = BOUND) -> None:
    deadline = time.monotonic() + bound
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@dataclass
class Up:
    process: subprocess.Popen[bytes]
    folder: Path
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return told

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.told['settings']['api_port']}"

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.api}/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return longtake(self.folder, *arguments)

    def json(self, *arguments: str) -> Any:
        answer = self.run(*arguments, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)


@contextmanager
def up(folder: Path) -> Iterator[Up]:
    """A stack that has greeted; stopped the hard way if a test did not stop it."""
    output = folder / "up.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [LONGTAKE, "up", "--simulate"],
            env=environment(folder),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    stack = Up(process, folder, output)
    try:
        eventually(lambda: "Ctrl-C" in stack.said or process.poll() is not None, bound=START)
        assert process.poll() is None, stack.said
        yield stack
    finally:
        process.terminate()
        try:
            process.wait(BOUND)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(BOUND)
            raise


@pytest.fixture(scope="module")
def stack() -> Iterator[Up]:
    with tempfile.TemporaryDirectory(prefix="longtake-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with up(folder) as running:
            yield running


def left_of(folder: Path) -> list[psutil.Process]:
    """Processes of ours and embedded servers that still work for this folder."""
    root = folder.resolve()
    servers = living("valkey-server", mark_of(root / "valkey"))
    return [*Folder(root).strays(), *servers, *living("postgres", mark_of(root / "postgres"))]


def secrets_of(process: psutil.Process) -> set[str]:
    """The secrets that its environment began with; VENDORS stands for the vendors' variables."""
    names = process.environ()
    ours = {"LONGTAKE_BROKER_URL", "LONGTAKE_DATABASE_URL", "LONGTAKE_SECRET_KEYS"}
    return (ours & set(names)) | {VENDORS for name in names if is_vendor_variable(name)}


def test_another_terminal_makes_a_video_with_no_setting_at_all(stack: Up) -> None:
    # When somebody asks for a video beside the running stack
    film = stack.folder / "film.mp4"
    answer = stack.run("submit", "A lighthouse in a storm", "--wait", "--out", str(film))

    # Then it is there, and the job is in the list
    assert answer.returncode == 0, answer.stderr
    assert film.read_bytes()[4:8] == b"ftyp"
    assert any(job["prompt"] == "A lighthouse in a storm" for job in stack.json("list")["data"])


def test_a_job_that_fails_says_why_and_exits_with_1(stack: Up) -> None:
    answer = stack.run("submit", "[sim:fail] A fox", "--wait")

    assert answer.returncode == 1
    assert "failed: " in answer.stderr


def test_every_model_is_available_in_a_simulated_stack(stack: Up) -> None:
    models = stack.json("models")

    assert models
    assert all(model["available"] for model in models)


def test_a_key_made_in_another_terminal_is_good_until_it_is_revoked(stack: Up) -> None:
    # Given a key for a new tenant
    made = stack.json("keys", "create", "--tenant", "acme")
    bearer = {"Authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{stack.api}/v1/models", headers=bearer).status_code == 200
    assert made["id"] in stack.run("keys", "list").stdout

    # When it is revoked
    assert stack.run("keys", "revoke", made["id"]).returncode == 0

    # Then it is refused, within the time that processes remember a key
    eventually(lambda: httpx.get(f"{stack.api}/v1/models", headers=bearer).status_code == 401)


def test_what_another_terminal_reads_is_private(stack: Up) -> None:
    for name in ("stack.json", "secret-keys", "dev-api-key"):
        assert (stack.folder / name).stat().st_mode & 0o077 == 0, name


def test_a_process_holds_only_the_secrets_that_it_works_with(stack: Up) -> None:
    held = {name: secrets_of(psutil.Process(pid)) for name, pid in stack.told["pids"].items()}

    everything = {"LONGTAKE_BROKER_URL", "LONGTAKE_DATABASE_URL", "LONGTAKE_SECRET_KEYS", VENDORS}
    assert held == {
        "simulator": set(),
        "beat": {"LONGTAKE_BROKER_URL"},
        "flower": {"LONGTAKE_BROKER_URL"},
        **dict.fromkeys(("worker-submit", "worker-long", "worker-main", "api"), everything),
    }


def test_no_password_is_on_a_command_line(stack: Up) -> None:
    settings = stack.told["settings"]
    secrets = {settings["secret_keys"], urlsplit(settings["broker_url"]).password}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            assert not any(str(secret) in line for secret in secrets), process.name()


def test_nobody_else_reads_what_the_stack_writes(stack: Up) -> None:
    """Logs, videos, queued messages and the database; only PostgreSQL's account passes through."""
    job = stack.json("submit", "a fox", "--wait", "--json")
    assert job["status"] == "complete"
    folders = [stack.folder, (stack.folder / "postgres").resolve()]
    found = [path for folder in folders for path in (folder, *folder.rglob("*"))]

    readable = [
        str(path)
        for path in found
        if not (path.is_symlink() or path.is_socket() or path == stack.output)
        and path.name != "film.mp4"  # which a user's command wrote
        and path.stat().st_mode & 0o066
    ]
    assert readable == []
    assert any(path.suffix == ".mp4" for path in found)
    assert any(path.suffix == ".log" for path in found)


def test_flower_shows_the_workers_and_lets_no_page_control_them(stack: Up) -> None:
    flower = f"http://127.0.0.1:{stack.told['settings']['flower_port']}"

    def workers() -> dict[str, bool]:
        found: dict[str, bool] = httpx.get(f"{flower}/api/workers", params={"status": "1"}).json()
        return found

    eventually(lambda: {name.partition("-")[0] for name in workers()} >= {"submit", "long", "main"})
    answer = httpx.post(f"{flower}/api/worker/shutdown/{next(iter(workers()))}")
    assert answer.status_code == 403


def test_a_process_that_is_killed_is_started_again(stack: Up) -> None:
    # Given the API's process
    before = stack.told["pids"]["api"]

    # When it is killed
    os.kill(before, signal.SIGKILL)

    # Then another answers on the same port, and somebody was told
    eventually(lambda: stack.told["pids"]["api"] != before)
    eventually(stack.is_ready)
    assert "api was killed by SIGKILL; restarting it" in stack.said


def test_a_second_stack_on_the_same_folder_is_refused_in_words(stack: Up) -> None:
    answer = longtake(stack.folder, "up")

    assert answer.returncode == 2
    assert f"another stack (process {stack.process.pid}) is using {stack.folder}" in answer.stderr
    assert stack.is_ready()


def test_a_port_that_is_taken_is_named_with_its_variable(stack: Up, data_dir: Path) -> None:
    taken = stack.told["settings"]["api_port"]

    answer = longtake(data_dir, "up", LONGTAKE_API_PORT=taken)

    assert answer.returncode == 2
    assert f"port {taken} (LONGTAKE_API_PORT) is in use by another program" in answer.stderr
    assert left_of(data_dir) == []


def test_a_wrong_setting_is_named_and_nothing_is_left_running(data_dir: Path) -> None:
    answer = longtake(data_dir, "up", LONGTAKE_LEASE_SECONDS="soon")

    assert answer.returncode == 2
    assert "LONGTAKE_LEASE_SECONDS" in answer.stderr
    assert left_of(data_dir) == []


def test_ctrl_c_leaves_nothing_behind(data_dir: Path) -> None:
    with up(data_dir) as stack:
        # When it is stopped, by somebody impatient
        stack.process.send_signal(signal.SIGINT)
        stack.process.send_signal(signal.SIGINT)

        # Then it ends well, and everything with it
        assert stack.process.wait(BOUND) == 0
    assert left_of(data_dir) == []
    assert not (data_dir / "stack.json").exists()


def test_jobs_survive_kill_9_of_everything(data_dir: Path) -> None:
    # Given a stack with a job that it has not finished
    with up(data_dir) as stack:
        job = stack.json("submit", "[sim:slow] A fox crosses a frozen lake")

        # When everything is killed at once
        for process in (psutil.Process(stack.process.pid), *left_of(data_dir)):
            with suppress(psutil.NoSuchProcess):  # the end of its parent may have ended it
                process.kill()

    # Then the next start has it
    with up(data_dir) as stack:
        assert stack.json("get", job["id"])["prompt"] == job["prompt"]
        stack.process.terminate()
        assert stack.process.wait(BOUND) == 0
    assert left_of(data_dir) == []


def test_a_stack_whose_owner_was_killed_is_cleared_away_by_the_next(data_dir: Path) -> None:
    # Given processes whose owner was killed
    with up(data_dir) as stack:
        key = (data_dir / "dev-api-key").read_text()
        before = stack.told["pids"]
        stack.process.kill()
        stack.process.wait(BOUND)
        assert {process.pid for process in Folder(data_dir).strays()} == set(before.values())

    # When the next one starts
    with up(data_dir) as stack:
        # Then it says so, has processes of its own, and the same key is good
        assert "left running by a stack that was killed" in stack.said
        assert not set(before.values()) & {process.pid for process in left_of(data_dir)}
        assert (data_dir / "dev-api-key").read_text() == key
        assert stack.run("models").returncode == 0
