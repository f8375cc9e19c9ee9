"""Process under measurement: accepts a batch of as many lines as each line of its input says."""

import asyncio
import json
import resource
import sys
import tempfile
import time
from typing import BinaryIO

from settings import load
from tasks.batches.intake import accept_batch
from tasks.batches.lines import FileSource
from tasks.engine import Engine

_SUBJECTS = ("a lighthouse", "an old fisherman", "two foxes", "a red bicycle", "a paper boat")
_SCENES = ("at dusk, waves below", "in fresh snow, slow aerial shot", "on a rainy street at night")


def write(file: BinaryIO, *, lines: int) -> None:
    """Requests of ordinary length, all different, in a file."""
    file.write(b'{"batch": {"defaults": {"model": "runway-gen3", "duration_seconds": 5}}}\n')
    for number in range(lines):
        subject, scene = _SUBJECTS[number % 5], _SCENES[number % 3]
        line = {
            "custom_id": f"line-{number}",
            "prompt": f"{subject} {scene}, variation {number} of the same shot",
            "seed": number,
            "metadata": {"dimension": "temporal_flickering", "number": number},
        }
        file.write(json.dumps(line).encode() + b"\n")


async def accept(engine: Engine, *, lines: int) -> float:
    """Seconds for one batch."""
    with tempfile.TemporaryFile() as file:
        write(file, lines=lines)
        began = time.perf_counter()
        source = await FileSource.open(file)
        accepted = await accept_batch(engine, source, tenant="default")
        assert accepted.view["counts"]["pending"] == lines
        return time.perf_counter() - began


async def main() -> None:
    engine = Engine.build(load())
    while line := await asyncio.to_thread(sys.stdin.readline):
        seconds = await accept(engine, lines=int(line))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_memory": peak}), flush=True)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
