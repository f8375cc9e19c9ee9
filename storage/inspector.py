"""The program of an inspector: a child process that looks into one video at a time, within limits.

A hostile file may crash the decoder or use it up, so it never runs in a process of ours that has
other work or knows a secret. `storage.inspectors` starts this program and speaks to it:

    request (stdin)   one line of JSON: the work's name and the file's path
    answer (stdout)   4 bytes of length, then JSON: {"done": …}, {"bad": kind, "why": …},
                      {"breach": "memory"} or {"failed": …}, which is our own trouble

It ends with its parent: a thread sees the end of stdin even while the decoder works.
"""

import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, Final

from storage.base import NotAVideo, Truncated

#: Bytes of an answer's length.
LENGTH: Final = 4
#: Open files that an inspector may have.
_MOST_FILES: Final = 32


def _probe(path: Path) -> object:
    from storage.probe import probe  # noqa: PLC0415 - loads the decoder

    return asdict(probe(path))


def _last_frame(path: Path) -> object:
    from storage.frames import last_frame  # noqa: PLC0415 - loads the decoder

    return b64encode(last_frame(path)).decode()


def _stills(path: Path) -> object:
    from storage.stills import stills  # noqa: PLC0415 - loads the decoder

    made = stills(path)
    return [b64encode(each).decode() for each in (made.poster, made.sheet)]


WORKS: Final[Mapping[str, Callable[[Path], object]]] = {
    "probe": _probe,
    "last_frame": _last_frame,
    "stills": _stills,
}


def main(works: Mapping[str, Callable[[Path], object]] = WORKS) -> None:
    """Answer requests until stdin ends; `argv` holds limits: CPU seconds, bytes, wall seconds."""
    cpu, memory, wall = (int(word) for word in sys.argv[1:4])
    _limit(memory)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    while True:
        name, path = json.loads(requests.get())
        _begin(cpu, wall)
        answer = _answer(works[name], Path(path))
        signal.setitimer(signal.ITIMER_REAL, 0)
        content = json.dumps(answer).encode()
        sys.stdout.buffer.write(len(content).to_bytes(LENGTH) + content)
        sys.stdout.buffer.flush()


def _read(requests: "queue.SimpleQueue[bytes]") -> None:
    while line := sys.stdin.buffer.readline():
        requests.put(line)
    os._exit(0)


def _limit(memory: int) -> None:
    """What holds for all files. The parent's signal mask and ignored signals are inherited."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)  # these end the process, whatever it does
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))


def _begin(cpu: int, wall: int) -> None:
    """Give the next file its seconds. The CPU limit counts from the start of the process."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(time.process_time()) + cpu, hard))
    signal.setitimer(signal.ITIMER_REAL, wall)


def _answer(work: Callable[[Path], object], path: Path) -> dict[str, Any]:
    try:
        return {"done": work(path)}
    except (NotAVideo, Truncated) as error:
        return {"bad": type(error).__name__, "why": str(error)}
    except MemoryError:
        return {"breach": "memory"}
    except Exception as error:  # noqa: BLE001 - the parent is told
        return {"failed": f"{type(error).__name__}: {error}"[:500]}


if __name__ == "__main__":
    main()
