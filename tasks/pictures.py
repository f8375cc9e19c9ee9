"""Pictures of a request as its provider wants them: an earlier job's frame, a link's bytes."""

import asyncio
import tempfile
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from catalog.plan import Plan
from models.database import Connection
from models.failure import Failure, Fault, RequestRefused
from models.scene import JobReference
from providers.base import Ask
from storage.base import StorageError
from storage.frames import last_frame
from tasks.engine import Engine
from transport.base import Blocked, Request, TransportError

#: A picture behind a link may have so many bytes, and must come within so many seconds.
MOST_BYTES = 20 * 2**20
SECONDS = 30.0


class PictureTrouble(Exception):
    """A picture can't be had now; nothing was sent, and later may be better."""


class BadPicture(Exception):
    """A picture can never be had; `failure` says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(fault=Fault.REFUSED, code="picture_unavailable", message=message)


async def check_references(connection: Connection, plan: Plan, *, tenant: str) -> None:
    """Refuse a request with a picture of a job that is not the tenant's, or has no stored video.

    Raises:
        RequestRefused: `param` is the first such picture: `image`, `last_image` or
            `reference_images.N`, counted from 0.
    """
    wanted = _references(plan)
    if not wanted:
        return
    cursor = await connection.execute(_STORED, (sorted(set(wanted.values())), tenant))
    found = {row["job"] for row in await cursor.fetchall()}
    for param, job in wanted.items():
        if job not in found:
            msg = f"{param} refers to the job {job!r}, of which you have no stored video"
            raise RequestRefused(msg, param=param)


def _references(plan: Plan) -> dict[str, str]:
    """The jobs that the plan's pictures refer to, by parameter."""
    return {
        name: picture.job_id
        for name, picture in plan.scene.pictures()
        if isinstance(picture, JobReference)
    }


async def frames_for(engine: Engine, plan: Plan, *, tenant: str) -> dict[str, str]:
    """The last frame of each job that the plan refers to, as data URIs by job id.

    Raises:
        BadPicture: the video is gone. PictureTrouble: it can't be read now.
    """
    wanted = sorted(set(plan.job_references))
    if not wanted:
        return {}
    rows = await engine.database.fetch(_STORED, (wanted, tenant))
    keys = {row["job"]: row["key"] for row in rows}
    return {job: await _frame(engine, job, keys.get(job)) for job in wanted}


async def _frame(engine: Engine, job: str, key: str | None) -> str:
    if key is None:
        raise BadPicture(f"the video of job {job} is gone")
    with tempfile.TemporaryDirectory(prefix="longtake-frame-") as folder:
        path = Path(folder) / "video.mp4"
        try:
            with path.open("wb") as file:
                async for piece in engine.storage.read(key):
                    await asyncio.to_thread(file.write, piece)
            jpeg = await asyncio.to_thread(last_frame, path)
        except StorageError as error:
            raise PictureTrouble(str(error)) from error
    return _data_uri(jpeg, "image/jpeg")


async def inline(engine: Engine, ask: Ask) -> Ask:
    """The ask with every link replaced by what it points to, for providers that take no links.

    Raises:
        BadPicture: a link gives no picture. PictureTrouble: it does not answer now.
    """
    content = {link: await _fetched(engine, link) for _, link in ask.scene.pictures()}
    return replace(ask, scene=ask.scene.with_pictures(content.__getitem__))


async def _fetched(engine: Engine, picture: str) -> str:
    if picture.startswith("data:"):
        return picture
    request = Request(
        method="GET",
        url=picture,
        headers={"accept": "image/*"},
        timeout=SECONDS,
        max_bytes=MOST_BYTES,
    )
    try:
        answer = await engine.guarded.send(request)
    except Blocked:
        raise BadPicture("a picture's address is not public") from None
    except TransportError as error:
        raise PictureTrouble(
            f"a picture's address does not answer: {type(error).__name__}"
        ) from error
    kind = _media_type(answer.headers)
    if not answer.is_success or not kind.startswith("image/"):
        raise BadPicture(
            f"a picture's address gives no picture (HTTP {answer.status}, {kind or 'no type'})"
        )
    return _data_uri(answer.content, kind)


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()[:64]


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


_STORED = """
SELECT DISTINCT ON (output.job) output.job, output.key
FROM output JOIN job ON job.id = output.job
WHERE output.job = ANY(%s) AND job.tenant = %s AND output.state = 'stored' AND key IS NOT NULL
ORDER BY output.job, output.position
"""
