"""Makes a video of every prompt in a batch, and one picture of their middle frames.

`python contact_sheet.py FOLDER [--prompts FILE] [--model MODEL] [--limit N]`; LONGTAKE_API_URL and
LONGTAKE_API_KEY say where. FILE has one prompt, or one JSON object with a `prompt`, a line.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import av

from longtake import Batch, Client

#: From the VBench benchmark (Vchitect/VBench, Apache License 2.0).
PROMPTS = (
    "A beautiful coastal beach in spring, waves lapping on sand, watercolor painting",
    "A person is eating watermelon",
    "A fat rabbit wearing a purple robe walking through a fantasy landscape.",
)
#: Pixels of one frame on the sheet.
WIDTH, HEIGHT = 320, 180


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=Path, help="a file; default: three of VBench's")
    parser.add_argument("--model", default="luma")
    parser.add_argument("--limit", type=int, default=100)
    asked = parser.parse_args()
    prompts = (read(asked.prompts) if asked.prompts else PROMPTS)[: asked.limit]
    asked.folder.mkdir(parents=True, exist_ok=True)
    with Client() as client:
        films = generate(client, prompts, asked.model, asked.folder)
    if not films:
        print("no video was made", file=sys.stderr)
        return 1
    sheet = asked.folder / "contact-sheet.png"
    draw(films, sheet)
    print(f"{len(films)} of {len(prompts)} videos are on {sheet}")
    return 0 if len(films) == len(prompts) else 1


def read(path: Path) -> Sequence[str]:
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line)["prompt"] if line[0] == "{" else line for line in lines if line]


def generate(client: Client, prompts: Sequence[str], model: str, folder: Path) -> list[Path]:
    """The videos that were made, in the order of their prompts."""
    requests = [{"custom_id": f"{n:04}", "prompt": prompt} for n, prompt in enumerate(prompts, 1)]
    batch = client.batch(requests, defaults={"model": model}, name="contact sheet")
    client.batches.wait(batch.id, timeout=3600, on_progress=tell)
    films = []
    for line in client.batches.results(batch.id):
        if line.status == "complete" and line.job:
            films.append(client.download(line.job, folder / f"{line.custom_id}.mp4"))
        elif line.error:
            print(f"{line.custom_id}: {line.error.message}", file=sys.stderr)
    return films


def tell(batch: Batch) -> None:
    print(f"{batch.counts.complete} of {batch.counts.total} videos, {batch.cost_usd or 0:.2f} USD")


def draw(films: Sequence[Path], sheet: Path) -> None:
    """Write the middle frames in rows, as one PNG; PyAV's planes are rows of bytes."""
    columns = math.ceil(math.sqrt(len(films)))
    rows = math.ceil(len(films) / columns)
    stride = columns * WIDTH * 3
    pixels = bytearray(rows * HEIGHT * stride)
    for index, film in enumerate(films):
        top, left = divmod(index, columns)
        frame = middle_frame(film)
        line_size = frame.planes[0].line_size
        content = bytes(frame.planes[0])
        for y in range(HEIGHT):
            start = (top * HEIGHT + y) * stride + left * WIDTH * 3
            pixels[start : start + WIDTH * 3] = content[y * line_size :][: WIDTH * 3]
    picture = av.VideoFrame(columns * WIDTH, rows * HEIGHT, "rgb24")
    target = picture.planes[0].line_size
    padding = bytes(target - stride)
    lines = (bytes(pixels[at : at + stride]) for at in range(0, len(pixels), stride))
    picture.planes[0].update(b"".join(line + padding for line in lines))
    with av.open(sheet, "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "rgb24"
        container.mux(stream.encode(picture))
        container.mux(stream.encode())


def middle_frame(film: Path) -> av.VideoFrame:
    with av.open(film) as container:
        frames = list(container.decode(video=0))
    return frames[len(frames) // 2].reformat(WIDTH, HEIGHT, "rgb24")


if __name__ == "__main__":
    sys.exit(main())
