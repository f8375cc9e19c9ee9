"""The stored request of a job, a sample video, and a video stored for a job."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import av

from storage.base import video_key
from tests.integration.api.conftest import Api


async def whole_scene(api: Api, sealed: bytes) -> dict[str, Any]:
    """The opened scene with its pictures as they were given."""
    vault = api.front.engine.vault
    rows = await api.fetch("SELECT id, sealed FROM picture")
    pictures = {row["id"]: vault.open(row["sealed"]).decode() for row in rows}

    def whole(value: Any) -> Any:
        match value:
            case {"picture": id_}:
                return pictures[id_]
            case dict():
                return {name: whole(each) for name, each in value.items()}
            case list():
                return [whole(each) for each in value]
            case _:
                return value

    scene: dict[str, Any] = whole(vault.open_json(sealed))
    return scene


async def store_video(api: Api, job: str, content: bytes, folder: Path) -> None:
    """Make the job complete, with a first video that is in the storage."""
    (row,) = await api.fetch(
        "SELECT output.id, job.created_at FROM output JOIN job ON job.id = job "
        "WHERE job = %s AND position = 0",
        job,
    )
    key = video_key(job, row["id"], row["created_at"])
    file = folder / "video.mp4"
    file.write_bytes(content)
    await api.front.engine.storage.put_file(key, file, content_type="video/mp4")
    await api.fetch(
        "UPDATE output SET state = 'stored', key = %s, sha256 = %s, bytes = %s, width = 16, "
        "height = 9, duration_seconds = 5, content_type = 'video/mp4' WHERE id = %s",
        *(key, sha256(content).hexdigest(), len(content), row["id"]),
    )
    await api.fetch("UPDATE job SET state = 'complete', finished_at = now() WHERE id = %s", job)


def film(folder: Path) -> bytes:
    """A video of one second."""
    path = folder / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for _ in range(24):
            container.mux(stream.encode(av.VideoFrame(320, 180, "yuv420p")))
        container.mux(stream.encode())
    return path.read_bytes()
