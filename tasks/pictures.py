"""Pictures of a request in the form its provider takes: earlier jobs' frames, links' bytes."""

import asyncio
import tempfile
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.plan import Plan
from models.database import Connection, fetch_rows
from models.failure import Failure, Fault, RequestRefused
from models.scene import JobReference
from providers.base import Ask
from storage.base import StorageError
from storage.frames import last_frame
from tasks.engine import Engine
from transport.base import Blocked, Request, TransportError

#: Maximum size of a picture behind a link, and the timeout for its download, in seconds.
MOST_BYTES = 20 * 2**20
SECONDS = 30.0
#: The end of the refusal of a picture that refers to such a job.
NO_STORED_VIDEO = "of which you have no stored video"


class PictureTrouble(Exception):
    """A picture is unavailable now; nothing was sent, and a retry may succeed."""


class BadPicture(Exception):
    """A picture is permanently unavailable; `failure` says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(fault=Fault.REFUSED, code="picture_unavailable", message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A job's first stored video."""

    job: str
    key: str


async def check_references(connection: Connection, plan: Plan, *, tenant: str) -> None:
    """Refuse a picture that refers to another tenant's job, or to a job without a stored video.

    Raises:
        RequestRefused: `param` is the first such picture: `image`, `last_image` or
            `reference_images[N]`, counted from 0.
    """
    wanted = _references(plan)
    if not wanted:
        return
    parameters = (sorted(set(wanted.values())), tenant)
    stored = {video.job for video in await fetch_rows(connection, _Stored, _STORED, parameters)}
    for param, job in wanted.items():
        if job not in stored:
            msg = f"{param} refers to the job {job!r}, {NO_STORED_VIDEO}"
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
        BadPicture: the video was deleted. PictureTrouble: storage can't be read now.
    """
    wanted = sorted(set(plan.job_references))
    if not wanted:
        return {}
    stored = await engine.database.fetch(_STORED, (wanted, tenant), row=_Stored)
    keys = {video.job: video.key for video in stored}
    return {job: await _frame(engine, job, keys.get(job)) for job in wanted}


async def _frame(engine: Engine, job: str, key: str | None) -> str:
    if key is None:
        raise BadPicture(f"job {job} has no stored video, so its last frame can't be used")
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
    """The ask with every link replaced by the picture's bytes, for providers that take no links.

    Raises:
        BadPicture: a link's response is not a picture. PictureTrouble: there is no response now.
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
            f"a picture's address is unavailable: {type(error).__name__}"
        ) from error
    kind = _media_type(answer.headers)
    if not answer.is_success or not kind.startswith("image/"):
        raise BadPicture(
            f"a picture's address returned no picture (HTTP {answer.status}, {kind or 'no type'})"
        )
    return _data_uri(answer.content, kind)


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()[:64]


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


_STORED = """
SELECT DISTINCT ON (output.job) output.job, output.key
FROM output JOIN job ON job.id = output.job
WHERE output.job = ANY(%s) AND job.tenant = %s AND job.deleted_at IS NULL
  AND output.state = 'stored' AND key IS NOT NULL
ORDER BY output.job, output.position
"""
