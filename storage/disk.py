"""The threads in which videos and pictures are written to disks and read from them.

A slow disk, or a network's file system that hangs, holds the threads that wait for it. The loop's
own threads serve all other work: sealed values of submits, the high-water mark.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Writes at a time: more than a disk gains from.
THREADS = 8
#: Its threads start on first use, after any fork.
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="disk")


async def on_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work` in a thread for disks; cancelling it does not stop the thread."""
    return await asyncio.get_running_loop().run_in_executor(_threads, lambda: work(*args, **kwargs))
