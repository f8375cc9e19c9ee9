"""A process of the stack is waited for, restarted and stopped, whatever it does."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from stack.child import FIRST_WAIT, LONGEST_WAIT, STEADY, Child, Role, next_wait
from stack.errors import StackError

pytestmark = pytest.mark.anyio

#: Ends at SIGTERM; says that it is there by a file.
TAME = "import sys, signal, pathlib; pathlib.Path(sys.argv[1]).touch(); signal.pause()"
#: Does not, and has a child of its own.
STUBBORN = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
    "open(sys.argv[1], 'w').write(str(child.pid)); signal.pause()"
)


def child(
    folder: Path,
    code: str,
    *,
    grace: float = 10,
    check: Callable[[], Awaitable[bool]] | None = None,
) -> tuple[Child, Path, list[str]]:
    """A child that runs `code`, the file that says it is there, and what was told."""
    flag, told = folder / "flag", list[str]()

    async def is_there() -> bool:
        return flag.exists() and flag.stat().st_size >= (1 if code is STUBBORN else 0)

    role = Role(
        name="play",
        command=(sys.executable, "-c", code, str(flag)),
        check=check or is_there,
        grace=grace,
    )
    return Child(role, environment=os.environ, logs=folder, tell=told.append), flag, told


async def test_a_process_that_ends_at_its_start_is_told_with_its_log(tmp_path: Path) -> None:
    play, _, _ = child(tmp_path, "raise SystemExit('the port is taken')")
    play.start()

    with pytest.raises(StackError, match=r"(?s)play exited during startup.*the port is taken"):
        await play.ready()


async def test_a_process_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    play, _, told = child(tmp_path, TAME)
    play.start()
    await play.ready()
    assert play.pid is not None

    await play.stop()

    assert not psutil.pid_exists(play.pid)
    assert told == []


async def test_one_that_does_not_is_killed_with_its_children(tmp_path: Path) -> None:
    play, flag, told = child(tmp_path, STUBBORN, grace=0.2)
    play.start()
    await play.ready()
    grandchild = psutil.Process(int(flag.read_text()))

    await play.stop()

    grandchild_gone, _ = psutil.wait_procs([grandchild], timeout=5)
    assert grandchild_gone
    assert told == ["play did not stop within 0 s: killing it"]


async def test_in_a_hurry_nothing_is_waited_for(tmp_path: Path) -> None:
    play, _, told = child(tmp_path, STUBBORN, grace=600)
    play.start()
    await play.ready()
    hurry = asyncio.Event()
    stopping = asyncio.create_task(play.stop(hurry))

    hurry.set()

    await asyncio.wait_for(stopping, 10)
    assert not play.lives
    assert told == []


async def test_stopping_what_never_started_does_no_harm(tmp_path: Path) -> None:
    play, _, _ = child(tmp_path, TAME)

    await play.stop()


async def test_one_that_dies_is_started_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a supervised process
    monkeypatch.setattr("stack.child.FIRST_WAIT", 0.01)
    play, flag, told = child(tmp_path, TAME)
    play.start()
    await play.ready()
    restarted = asyncio.Event()
    watching = asyncio.create_task(play.supervise(restarted.set))

    # When it is killed
    first = play.pid
    assert first is not None
    flag.unlink()
    os.kill(first, signal.SIGKILL)

    # Then another takes its place
    await asyncio.wait_for(restarted.wait(), 10)
    await play.ready()
    assert play.pid != first
    assert "play was killed by SIGKILL; restarting it in" in told[0]
    watching.cancel()
    await play.stop()


async def test_restarts_wait_longer_each_time_until_one_lasts() -> None:
    waits = [0.0]
    for _ in range(8):
        waits.append(next_wait(waits[-1], lasted=1))

    assert waits[1:] == [1, 2, 4, 8, 16, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
    assert next_wait(LONGEST_WAIT, lasted=STEADY) == FIRST_WAIT
