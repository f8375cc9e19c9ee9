"""The flag of a worker's processes: all see it, and a dead one does not block it."""

import subprocess
import sys
import threading

from tasks.pump.flag import Flag

# Children read without a pause, so nearly all of them are killed while reading.
_KILLED = """
import os, signal
from tasks.pump.running import stopping

for _ in range(10):
    told, tells = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(60)
        os.write(tells, b"!")
        while True:
            stopping.is_set()
    os.read(told, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(stopping.is_set(), flush=True)

if os.fork() == 0:
    os._exit(0 if stopping.wait(30) else 1)
stopping.set()
print(os.wait()[1])
"""


def test_children_that_are_killed_while_reading_block_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _KILLED],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == ["False"] * 10 + ["0"]


def test_waiting_ends_when_the_flag_is_set() -> None:
    flag, seen = Flag(), list[bool]()
    waiting = threading.Thread(target=lambda: seen.append(flag.wait(60)))
    waiting.start()
    flag.set()
    waiting.join(30)
    assert seen == [True]
    flag.clear()
    assert not flag.wait(0)
