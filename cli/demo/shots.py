"""The demo's requests: a prompt, a model and suitable parameters."""

import base64
import itertools
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.api import Json
from cli.errors import Refused

#: From VBench; see PROMPTS.md.
PROMPTS = Path(__file__).with_name("prompts.jsonl")
#: Requested length in seconds, and resolution; the nearest lower if a model lacks it.
DURATION, RESOLUTION = 5, "720p"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One job of the demo."""

    number: int
    model: str
    prompt: str
    body: Json
    #: The gate that chooses its model, if one does.
    gate: str | None = None

    @property
    def file(self) -> str:
        return f"{self.number:02d}-{slug(self.model, self.prompt)}.mp4"


def slug(maker: str, prompt: str) -> str:
    """A file's name: what makes the video, and the prompt's first words."""
    words = "".join(letter if letter.isalnum() else " " for letter in prompt.lower())
    return "-".join((maker.replace("/", "-"), *words.split()[:6]))


def read_prompts() -> list[str]:
    return [json.loads(line)["prompt"] for line in PROMPTS.read_text("utf-8").splitlines()]


def plan(models: Sequence[Json], *, wanted: int, webhook: Json) -> list[Shot]:
    """One shot or more for each available model, `wanted` in all, each prompt used once.

    Raises:
        Refused: too few prompts, or no available model.
    """
    available = [model for model in models if model["available"]]
    prompts = read_prompts()
    count = max(wanted, len(available))
    if count > len(prompts) or not available:
        raise Refused(
            f"the demo has {len(prompts)} prompts for {count} jobs on {len(available)} models"
        )
    turns = zip(prompts[:count], itertools.cycle(available), strict=False)
    return [
        Shot(
            number=number,
            model=model["id"],
            prompt=prompt,
            body={"prompt": prompt, "model": model["id"], **settings_for(model), **webhook},
        )
        for number, (prompt, model) in enumerate(turns, start=1)
    ]


def settings_for(model: Json) -> Json:
    """Parameters for a short, small video on this model."""
    limits = model["limits"]
    short = [seconds for seconds in limits["durations"] if seconds <= DURATION]
    chosen: Json = {"duration_seconds": max(short) if short else min(limits["durations"])}
    if RESOLUTION in limits["resolutions"]:
        chosen["resolution"] = RESOLUTION
    if limits["image"] == "required":
        chosen["image"] = picture(640, 360)
    return chosen


def picture(width: int, height: int) -> str:
    """A still image of a sunset as a PNG data URI (8-bit RGB, ISO 15948)."""
    sky = [bytes((40 + 180 * y // height, 60 + 90 * y // height, 140)) for y in range(height)]
    lines = b"".join(b"\x00" + colour * width for colour in sky)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
