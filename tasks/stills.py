"""Stills of stored videos (a poster and a sheet of frames), made when first requested and kept.

They are stored beside their video and deleted with it. Making them twice is harmless: the same
video gives the same pictures, under the same keys. `output.stills_bytes` says that they exist.
Before they are put, rows of `removal` schedule their deletion; the commit that sets `stills_bytes`
deletes these rows. So a process that dies in between leaves nothing behind.
"""

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal
from weakref import WeakValueDictionary

import structlog

from models.database import Connection, fetch_ids
from models.failure import RequestRefused
from models.locks import lock_jobs
from storage.base import (
    STILLS,
    BadVideo,
    NotStored,
    TooBig,
    Truncated,
    Unavailable,
    stills_key,
)
from storage.disk import on_disk
from storage.facts import Stills
from storage.receive import ABANDONED_AFTER, receive, remove_abandoned
from tasks.engine import Engine
from tasks.jobs import StoredVideo

log = structlog.get_logger()

Kind = Literal["poster", "sheet"]

#: Maximum size of a video that is copied for its stills, in bytes: minutes have some ten million.
MOST_VIDEO: Final = 512 * 2**20
#: Maximum size of a still, in bytes.
MOST_STILL: Final = 4 * 2**20
#: Videos that one process inspects or has waiting, in all and for one tenant: more than a job's
#: page shows.
MOST_UNDER_WAY: Final = 64
MOST_OF_TENANT: Final = 16
#: Seconds that a request waits.
ANSWERS_WITHIN: Final = 30.0
#: Seconds for all the work on one video, and until objects put without a commit are removed.
MAKES_WITHIN: Final = 180.0
_GOES_AFTER: Final = 1800.0

#: SQL: locks the output if its video exists; retention locks it without its job.
_LOCK: Final = """
SELECT output.id FROM output JOIN job ON job.id = output.job
WHERE output.job = %(job)s AND position = %(position)s AND key = %(key)s AND job.deleted_at IS NULL
FOR NO KEY UPDATE OF output
"""
_SET: Final = """
UPDATE output SET stills_bytes = %(size)s WHERE job = %(job)s AND position = %(position)s
"""
_SET_NONE: Final = """
WITH noted AS (
    UPDATE output SET stills_bytes = coalesce(stills_bytes, 0)
    WHERE job = %(job)s AND position = %(position)s RETURNING id, stills_bytes
)
SELECT id FROM noted WHERE stills_bytes > 0
"""


@dataclass(slots=True)
class StillsMaker:
    """Makes stills in this process, of one video at a time, once for any number of requests.

    Each tenant has its own queue, and the first videos of all queues take turns.
    """

    engine: Engine
    _one: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    #: By tenant, held while one of its videos is made or waits for its turn.
    _own: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)
    _under_way: dict[str, "asyncio.Task[bool]"] = field(default_factory=dict)
    _of_tenant: Counter[str] = field(default_factory=Counter)

    async def content(self, video: StoredVideo, kind: Kind) -> bytes:
        """A video's still as a JPEG, made again if the storage has lost it.

        Raises:
            NotStored: the video itself is gone. RequestRefused, StorageError, TimeoutError: as
                `key_of`.
        """
        try:
            return await self._read(video, kind)
        except NotStored:
            if not video.stills_bytes or not await self._forget(video):
                raise
        return await self._read(replace(video, stills_bytes=None), kind)

    async def key_of(self, video: StoredVideo, kind: Kind) -> str:
        """The storage key of a video's still, which is made if it never was.

        Raises:
            RequestRefused: `no_stills`: the video can't be decoded within the limits, or is too
                large. StorageError: try again later, possibly because too many others wait.
            TimeoutError: it takes too long; the work continues for the next request.
        """
        has_some = bool(video.stills_bytes)
        if video.stills_bytes is None:
            work = self._under_way.get(video.key) or self._begun(video)
            async with asyncio.timeout(ANSWERS_WITHIN):
                has_some = await asyncio.shield(work)
        if not has_some:
            msg = "this video has no stills: it can't be decoded within the limits, or is too large"
            raise RequestRefused(msg, type="not_found", code="no_stills")
        return stills_key(video.key, kind)

    async def close(self) -> None:
        """Cancel the work in progress: the next request starts it again."""
        left = list(self._under_way.values())
        for work in left:
            work.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _read(self, video: StoredVideo, kind: Kind) -> bytes:
        key = await self.key_of(video, kind)
        return b"".join([piece async for piece in self.engine.storage.read(key)])

    async def _forget(self, video: StoredVideo) -> bool:
        log.warning("stills.gone", job=video.job, position=video.position)
        return await self.engine.database.run(lambda on: _forget(on, video))

    def _begun(self, video: StoredVideo) -> "asyncio.Task[bool]":
        if (
            len(self._under_way) >= MOST_UNDER_WAY
            or self._of_tenant[video.tenant] >= MOST_OF_TENANT
        ):
            msg = "too many videos wait to be looked into"
            raise Unavailable(msg)
        work = asyncio.create_task(self._make(video))
        self._under_way[video.key] = work
        self._of_tenant[video.tenant] += 1
        work.add_done_callback(lambda done: self._ended(video, done))
        return work

    def _ended(self, video: StoredVideo, work: "asyncio.Task[bool]") -> None:
        self._under_way.pop(video.key, None)
        self._of_tenant[video.tenant] -= 1
        self._of_tenant += Counter()  # drop tenants without any
        if not work.cancelled():
            work.exception()  # retrieved, since no request may be waiting for it any more

    async def _make(self, video: StoredVideo) -> bool:
        """Make and keep them; returns whether there are any."""
        own = self._own.setdefault(video.tenant, asyncio.Semaphore(1))
        async with asyncio.timeout(MAKES_WITHIN), own, self._one:
            try:
                made = await _decoded(self.engine, video)
            except BadVideo as error:
                log.info("stills.none", job=video.job, position=video.position, reason=str(error))
                return await self.engine.database.run(lambda on: _note_none(on, video))
            await _keep(self.engine, video, made)
            return True


async def _decoded(engine: Engine, video: StoredVideo) -> Stills:
    """The stills, made by an inspector from a copy of the video.

    Raises:
        BadVideo: there are none. StorageError: try again later.
    """
    chunks = engine.storage.read(video.key)
    into = engine.settings.data_dir / "incoming"
    # Removes copies that killed processes left: retention cleans its own machine only.
    await on_disk(remove_abandoned, into, older_than=ABANDONED_AFTER)
    try:
        async with receive(
            chunks, into=into, max_bytes=MOST_VIDEO, expected_bytes=video.bytes
        ) as received:
            made = await engine.inspectors.stills(received.path)
    except Truncated as error:  # the copy is cut short, which says nothing about the video
        raise Unavailable(str(error)) from error
    if max(len(made.poster), len(made.sheet)) > MOST_STILL:
        msg = f"a still has more than {MOST_STILL:,} bytes"
        raise TooBig(msg)
    return made


async def _keep(engine: Engine, video: StoredVideo, made: Stills) -> None:
    """Put them beside the video, unless it is gone or another process has done so."""
    if not await engine.database.run(lambda on: _announce(on, video)):
        return
    for kind, content in zip(STILLS, (made.poster, made.sheet), strict=True):
        await _put(engine, stills_key(video.key, kind), content)
    size = len(made.poster) + len(made.sheet)
    if not await engine.database.run(lambda on: _note(on, video, size=size)):
        for kind in STILLS:  # it was deleted meanwhile; what fails here is removed later
            await engine.storage.delete(stills_key(video.key, kind))


async def _put(engine: Engine, key: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="longtake-still-") as folder:
        path = Path(folder) / "still.jpg"
        await on_disk(path.write_bytes, content)
        await engine.storage.put_file(key, path, content_type="image/jpeg")


async def _announce(connection: Connection, video: StoredVideo) -> bool:
    """Schedule removal of what is put next; False if the video is gone or has its stills."""
    if not await _locked(connection, video):
        return False
    cursor = await connection.execute(
        """
        INSERT INTO removal (key, at)
        SELECT named.key, now() + %(after)s * interval '1 second'
        FROM output, unnest(%(stills)s::text[]) AS named (key)
        WHERE job = %(job)s AND position = %(position)s AND stills_bytes IS NULL ORDER BY 1
        ON CONFLICT (key) DO UPDATE SET at = excluded.at
        """,
        _named(video) | {"after": _GOES_AFTER},
    )
    return cursor.rowcount > 0


async def _forget(connection: Connection, video: StoredVideo) -> bool:
    """Reset stills that the storage has lost, to be made again; False if the video is gone."""
    if not await _locked(connection, video):
        return False
    await connection.execute(_SET, _named(video) | {"size": None})
    return await _announce(connection, video)  # a still that remains is removed too


async def _note(connection: Connection, video: StoredVideo, *, size: int) -> bool:
    """Record that the stills exist; False if their video is gone."""
    if not await _locked(connection, video):
        return False
    given = _named(video) | {"size": size}
    await connection.execute(_SET, given)
    await connection.execute("DELETE FROM removal WHERE key = ANY(%(stills)s)", given)
    return True


async def _note_none(connection: Connection, video: StoredVideo) -> bool:
    """Record that there are none, unless another process has made some; returns whether it has.

    Scheduled removals of what a dead process had put are kept.
    """
    if not await _locked(connection, video):
        return False
    return await fetch_ids(connection, _SET_NONE, _named(video)) != []


async def _locked(connection: Connection, video: StoredVideo) -> bool:
    """Whether the video exists and is visible; if so it can't be deleted before the commit."""
    await lock_jobs(connection, [video.job])
    return bool(await fetch_ids(connection, _LOCK, _named(video)))


def _named(video: StoredVideo) -> dict[str, object]:
    return {
        "job": video.job,
        "position": video.position,
        "key": video.key,
        "stills": [stills_key(video.key, kind) for kind in STILLS],
    }
