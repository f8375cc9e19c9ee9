"""Pictures of a request: set aside at intake, and put in the form that its provider takes."""

import asyncio
import tempfile
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from catalog.plan import Plan
from models import pictures
from models.database import Connection, fetch_rows
from models.failure import Failure, Fault, RequestRefused
from models.pictures import SealedPicture
from models.records import Json
from models.request import VideoRequest
from models.scene import JobReference, Scene, StoredPicture, with_pictures
from storage.base import BadVideo, StorageError
from storage.disk import on_disk
from storage.space import check_space
from tasks.engine import Engine

#: The end of the refusal of a picture that refers to such a job.
NO_STORED_VIDEO = "of which you have no stored video"


class PictureTrouble(Exception):
    """A picture is unavailable now; nothing was sent, and a retry may succeed."""


class LinksUnread(Exception):
    """The provider takes no links, and what is behind them was not fetched yet."""


class BadPicture(Exception):
    """A picture is permanently unavailable; `failure` says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(fault=Fault.REFUSED, code="picture_unavailable", message=message)


#: Pictures that a request contained, by parameter.
Sealed: TypeAlias = Mapping[str, SealedPicture]

# -- at intake ------------------------------------------------------------------------------------


async def seal_pictures(engine: Engine, request: VideoRequest, *, tenant: str) -> Sealed:
    """The request's data URIs, sealed one by one and off the loop, by parameter."""
    return {
        name: await asyncio.to_thread(_sealed, engine, uri, tenant)
        for name, uri in contained(request)
    }


def _sealed(engine: Engine, uri: str, tenant: str) -> SealedPicture:
    return pictures.seal(engine.vault, uri.encode(), tenant=tenant)


def contained(request: VideoRequest) -> Iterator[tuple[str, str]]:
    """The request's data URIs, by parameter."""
    for name, picture in request.pictures():
        if isinstance(picture, str) and picture.startswith("data:"):
            yield name, picture


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """The JSON of a scene that names its pictures, and the ids of those, by parameter."""

    scene: Json = field(repr=False)
    pictures: Mapping[str, str]


def set_aside(scene: Json, ids: Mapping[str, str]) -> SetAside:
    """A scene without the pictures that it contained; its route may have dropped some."""
    if not ids:
        return SetAside(scene=scene, pictures={})
    given = dict(Scene.from_json(scene).pictures())
    kept = {name: id_ for name, id_ in ids.items() if name in given}
    named = {name: {"picture": id_} for name, id_ in kept.items()}
    return SetAside(scene=dict(with_pictures(scene, named)), pictures=kept)


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
    wanted = job_references(plan)
    if wanted:
        refuse_missing(wanted, await stored_among(connection, wanted.values(), tenant=tenant))


async def stored_among(
    connection: Connection, jobs: Iterable[str], *, tenant: str
) -> frozenset[str]:
    """Those of the jobs of which the tenant has a stored video."""
    parameters = (sorted(set(jobs)), tenant)
    return frozenset(
        video.job for video in await fetch_rows(connection, _Stored, _STORED, parameters)
    )


def refuse_missing(wanted: Mapping[str, str], stored: Collection[str]) -> None:
    """Refuse the first picture whose job is not among those with a stored video."""
    for param, job in wanted.items():
        if job not in stored:
            msg = f"{param} refers to the job {job!r}, {NO_STORED_VIDEO}"
            raise RequestRefused(msg, param=param)


def job_references(plan: Plan) -> dict[str, str]:
    """The jobs that the plan's pictures refer to, by parameter."""
    return {
        name: picture.job_id
        for name, picture in plan.scene.pictures()
        if isinstance(picture, JobReference)
    }


# -- before it is sent ----------------------------------------------------------------------------


async def whole_scene(engine: Engine, scene: Json) -> Json:
    """The JSON of a stored scene with the pictures that the request contained.

    Raises:
        PictureTrouble: one was deleted, or can't be read now.
    """
    stored = {
        name: await _uri(engine, picture.picture)
        for name, picture in Scene.from_json(scene).pictures()
        if isinstance(picture, StoredPicture)
    }
    return dict(with_pictures(scene, stored))


async def pictures_for(
    engine: Engine, plan: Plan, *, job: str, tenant: str, inline: bool
) -> dict[str, str]:
    """What a plan's pictures stand for, as data URIs: by job, by stored picture, and by link.

    With `inline` links are replaced too, by what was fetched of them.

    Raises:
        LinksUnread: something of that was not fetched yet.
        BadPicture: the video of a job was deleted.
        PictureTrouble: a picture was deleted, or can't be read now.
    """
    fetched = await _fetched(engine, plan, job) if inline and plan.links else {}
    found = await _frames(engine, plan, tenant=tenant)
    for id_ in plan.stored_pictures:
        found[id_] = await _uri(engine, id_)
    for link, id_ in fetched.items():
        found[link] = await _uri(engine, id_)
    return found


async def _fetched(engine: Engine, plan: Plan, job: str) -> dict[str, str]:
    """The ids of the pictures that were fetched, by link."""
    uses = await engine.database.run_statement(lambda connection: pictures.uses_of(connection, job))
    if plan.links.keys() - uses.keys():
        raise LinksUnread
    return {link: uses[name].picture for name, link in plan.links.items()}


async def _uri(engine: Engine, picture: str) -> str:
    """A stored picture; one is read at a time, since each may have megabytes several times."""
    async with engine.one_picture:
        sealed = await pictures.read(engine.database, picture)
        if sealed is None:
            msg = "a picture was deleted"
            raise PictureTrouble(msg)
        return (await asyncio.to_thread(engine.vault.open, sealed)).decode()


async def _frames(engine: Engine, plan: Plan, *, tenant: str) -> dict[str, str]:
    """The last frame of each job that the plan refers to."""
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
                    check_space(path.parent, len(piece))
                    await on_disk(file.write, piece)
            jpeg = await engine.inspectors.last_frame(path)
        except BadVideo as error:
            raise BadPicture(f"the last frame of job {job} can't be used: {error}") from error
        except StorageError as error:
            raise PictureTrouble(str(error)) from error
    return data_uri(jpeg, "image/jpeg").decode()


def data_uri(content: bytes, media_type: str) -> bytes:
    return b"data:%b;base64,%b" % (media_type.encode(), b64encode(content))


_STORED = """
SELECT DISTINCT ON (output.job) output.job, output.key
FROM output JOIN job ON job.id = output.job
WHERE output.job = ANY(%s) AND job.tenant = %s AND job.deleted_at IS NULL
  AND output.state = 'stored' AND key IS NOT NULL
ORDER BY output.job, output.position
"""
