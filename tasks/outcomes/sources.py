"""The source of a video that is to be stored, as its output's row keeps it, sealed."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping

from models.database import Connection
from models.records import Json
from providers.base import Video
from tasks.engine import Engine

#: The next poll of its operation brings the video.
BY_POLL: Json = {"poll": True}


def source_of(video: Video) -> Json:
    """The source of a video, as JSON: its link, the next poll's answer, or its bytes."""
    if video.url is not None:
        return {"url": video.url}
    if video.content is not None and not video.only_here:
        return BY_POLL
    return {"content": b64encode(video.content or b"").decode()}


def video_from(source: Json) -> Video | None:
    """The video of a source; None when it must be polled for."""
    if "url" in source:
        return Video(url=source["url"])
    return Video(content=b64decode(source["content"])) if "content" in source else None


async def write_sources(
    engine: Engine, connection: Connection, sources: Mapping[str, Json]
) -> None:
    """Make expected outputs ready, each with its source."""
    sealed = await asyncio.to_thread(
        lambda: [engine.vault.seal_json(source) for source in sources.values()]
    )
    await connection.execute(
        """
        UPDATE output SET state = 'ready', source = new.source, source_at = now()
        FROM unnest(%s::text[], %s::bytea[]) AS new(id, source)
        WHERE output.id = new.id AND output.state = 'expected'
        """,
        (list(sources), sealed),
    )
