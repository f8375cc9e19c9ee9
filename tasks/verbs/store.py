"""Store: download a finished video into our storage, however often the download is cut off.

Running twice is harmless: the object's key is made from the output's id, so a second copy replaces
the first byte for byte, and an output moves to `stored` once.

A `store` row outlives its job: when a job ends during a download, the row stays, and the verb
deletes all that was stored of the video.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from models import due
from models.database import Connection
from models.failure import Failure, Fault
from models.state import OutputState
from models.vault import VaultError
from models.verbs import What
from providers.answers import UnknownStatus
from providers.base import NotOffered, ProviderError, Video
from scheduler.claim import Claimed
from scheduler.intervals import NO_CREDENTIALS_WAIT, Backoff
from storage import parts
from storage.base import (
    NotAVideo,
    StorageError,
    StorageFull,
    TooBig,
    Truncated,
    Unavailable,
    Unreadable,
    video_key,
)
from storage.disk import on_disk
from storage.parts import Keep, Part
from storage.receive import receive
from tasks.crash import crash_point
from tasks.download import DOWNLOAD_TIMEOUT, DeadLink, NoFreshLink, fresh_video, open_video
from tasks.engine import Engine
from tasks.measures import note_work
from tasks.outcomes.finish import settle
from tasks.outcomes.sources import source_of, video_from
from tasks.outcomes.stored import (
    StoreResult,
    drop_swept,
    record_fresh_links,
    record_lost,
    record_stored,
)
from tasks.verbs.verb import Hold, Verb
from transport.base import TransportError, Unresolved

log = structlog.get_logger()

#: After a failed download. Its retries are not counted: the link's expiry, the job's deadline or
#: `RECOVERY_LASTS` ends them.
BACKOFF = Backoff(base=2.0, ceiling=300.0)
#: After a complete download that is not a video: it may be large.
NO_VIDEO_BACKOFF = Backoff(base=2.0, ceiling=1800.0)
#: Lifetime of a link in seconds, where the vendor does not state one.
LINK_LIVES = 24 * 3600.0
#: Seconds for which a video is retried that an operator asked for after its job had ended.
RECOVERY_LASTS = 24 * 3600.0
#: Timeout of all the work on one video, in seconds: two downloads (by the known link, then by a
#: fresh one) and the put.
WORK_TIMEOUT = 2 * DOWNLOAD_TIMEOUT + 1800.0
#: Seconds to wait for a put in progress when its worker must stop.
PUT_PATIENCE = 20.0
#: Bytes that a download which was cut off must have received to be resumed at once.
PROGRESS_BYTES = 256 * 2**10

_PROVIDER_TROUBLE = (DeadLink, TransportError, ProviderError, UnknownStatus, NotOffered)


class _Cut(TransportError):
    """The download was cut off after progress; the next try resumes it."""


class _Unwanted(Exception):
    """The video is no longer wanted, and nothing of it is left in storage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreItem:
    """A video to download; or one of which nothing may stay in storage."""

    id: str
    job: str
    account: str
    operation_id: str | None
    #: Which of its attempt's videos it is: 0, 1, …
    number: int
    state: OutputState
    source: bytes | None
    faults: int
    created_at: datetime
    #: Seconds since the provider last returned the link.
    link_age: float
    #: Seconds since an operator asked for a video of an ended job; None without a request.
    asked_for: float | None

    @property
    def is_wanted(self) -> bool:
        return self.state is OutputState.READY or self.asked_for is not None

    @property
    def is_recovery_over(self) -> bool:
        return self.asked_for is not None and self.asked_for > RECOVERY_LASTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Store(Verb[StoreItem, StoreResult]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.STORE
    #: Slow downloads take no CPU, and must not keep quick ones waiting.
    concurrency: int = 32
    each: int = 32
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[StoreItem]:
        rows = await self.engine.database.fetch(
            """
            SELECT output.id, output.job, attempt.account, attempt.operation_id, output.source,
                   output.state, output.faults, job.created_at,
                   extract(epoch FROM now() - coalesce(output.source_at, attempt.finished_at,
                                                       now()))::float8 AS link_age,
                   extract(epoch FROM now() - output.recovery_asked_at)::float8 AS asked_for,
                   (SELECT count(*) FROM output AS earlier
                    WHERE earlier.attempt = output.attempt
                      AND earlier.position < output.position)::int AS number
            FROM output JOIN attempt ON attempt.id = output.attempt JOIN job ON job.id = output.job
            WHERE output.id = ANY(%s) AND output.state IN ('ready', 'failed')
            """,
            ([row.id for row in claimed],),
        )
        return [StoreItem(**row | {"state": OutputState(row["state"])}) for row in rows]

    async def act(self, item: StoreItem, hold: Hold) -> StoreResult | None:
        """Download, probe and store a video; every error is a result."""
        del hold
        began = time.monotonic()
        result = await self._act(item)
        word = result.word if result else "unwanted"
        note_work(self.what, word, account=item.account, began=began)
        return result

    async def _act(self, item: StoreItem) -> StoreResult | None:
        if not item.is_wanted:
            return await self._swept(item)
        if item.account not in self.engine.accounts:
            log.warning("store.no_credentials", output=item.id, account=item.account)
            return StoreResult(
                id=item.id,
                job=item.job,
                failure=_NO_CREDENTIALS,
                wait=None if item.is_recovery_over else NO_CREDENTIALS_WAIT,
                counts=False,
            )
        fresh: Video | None = None
        try:
            async with asyncio.timeout(WORK_TIMEOUT):
                stored = await self._by_known_link(item)
                if stored is None:
                    fresh = await self._fresh(item)
                    stored = await self._download(item, fresh)
                return stored
        except _Unwanted:
            return None
        except TimeoutError:
            error: Exception = TransportError(f"timed out after {WORK_TIMEOUT:g} s")
        except (*_PROVIDER_TROUBLE, StorageError) as trouble:
            error = trouble
        except OSError as trouble:
            error = Unavailable(f"the temporary folder failed ({type(trouble).__name__})")
        return await self._failed(item, error, fresh)

    async def _by_known_link(self, item: StoreItem) -> StoreResult | None:
        """Download by the known link; None when a fresh one is needed."""
        video = self._known(item)
        if video is None:
            return None
        try:
            return await self._download(item, video)
        except (DeadLink, NotAVideo, Truncated):
            return None  # an expired link may answer 200 with a page that is no video
        except TransportError:
            if self._has_outlived_its_link(item):
                return None
            raise

    def _known(self, item: StoreItem) -> Video | None:
        try:
            return video_from(self.engine.vault.open_json(item.source)) if item.source else None
        except VaultError as error:  # its key was taken away
            log.error("store.link_unreadable", output=item.id, reason=str(error))  # noqa: TRY400
            return None

    async def _fresh(self, item: StoreItem) -> Video:
        if item.operation_id is None:
            msg = "the provider gave no operation that it could be asked for"
            raise NoFreshLink(msg)
        return await fresh_video(self.engine, item.account, item.operation_id, item.number)

    async def _download(self, item: StoreItem, video: Video) -> StoreResult:
        """One download, from where the last one was cut off if the vendor allows it."""
        scratch = _scratch(self.engine)
        part = await on_disk(parts.find, scratch, item.id)
        try:
            stored = await self._receive_and_put(item, video, scratch, part)
        except (Truncated, TransportError) as error:
            now = await on_disk(parts.find, scratch, item.id)
            if now and now.bytes - (part.bytes if part else 0) >= PROGRESS_BYTES:
                raise _Cut(str(error)) from error
            raise
        await on_disk(parts.drop, scratch, item.id)
        return stored

    async def _receive_and_put(
        self, item: StoreItem, video: Video, scratch: Path, part: Part | None
    ) -> StoreResult:
        async with AsyncExitStack() as stack:
            opened = await open_video(stack, self.engine, item.account, video, part)
            received = await stack.enter_async_context(
                receive(
                    opened.chunks,
                    into=scratch,
                    max_bytes=self.engine.settings.max_video_bytes,
                    expected_bytes=opened.announced,
                    part=opened.part,
                    keep=Keep(name=item.id, origin=opened.origin) if opened.origin else None,
                )
            )
            crash_point("store.downloaded")
            measures = await self.engine.inspectors.probe(received.path)
            key = await self._put(item, received.path, measures.content_type)
        return StoreResult(id=item.id, job=item.job, key=key, received=received, probe=measures)

    async def _put(self, item: StoreItem, path: Path, content_type: str) -> str:
        """Finish a put that has begun, even when the lease is lost: a partial one could stay."""
        work = asyncio.ensure_future(self._put_if_wanted(item, path, content_type))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            try:
                await asyncio.wait({work}, timeout=PUT_PATIENCE)
            finally:
                work.cancel()
            if work.done() and not work.cancelled():
                work.exception()  # dropped: the row's new lease holder retries
            raise

    async def _put_if_wanted(self, item: StoreItem, path: Path, content_type: str) -> str:
        """Store the object, and delete it again if its job has ended in the meantime.

        A job that ends after the check below leaves its row, which deletes the object.

        Raises:
            _Unwanted: it was deleted.
        """
        key = video_key(item.job, item.id, item.created_at)
        await self.engine.storage.put_file(key, path, content_type=content_type)
        crash_point("store.put")
        if await self._is_unwanted(item.id):
            await self.engine.storage.delete(key)
            log.info("store.unwanted", output=item.id, job=item.job)
            raise _Unwanted
        return key

    async def _is_unwanted(self, output: str) -> bool:
        rows = await self.engine.database.fetch(
            """
            SELECT 1 FROM output WHERE id = %s AND (
                state IN ('ready', 'stored') OR recovery_asked_at IS NOT NULL)
            """,
            (output,),
        )
        return not rows

    async def _swept(self, item: StoreItem) -> StoreResult | None:
        """Delete everything of a video whose job ended before it was stored."""
        if not await self._is_unwanted(item.id):
            return None  # wanted again since it was claimed: the row is due when its lease ends
        key = video_key(item.job, item.id, item.created_at)
        try:
            await self.engine.storage.delete(key)
        except StorageError as error:
            log.warning("store.not_swept", output=item.id, error=str(error))
            return StoreResult(
                id=item.id, job=item.job, wait=BACKOFF.wait(item.faults, dice=random.random())
            )
        await on_disk(parts.drop, _scratch(self.engine), item.id)
        return StoreResult(id=item.id, job=item.job, is_swept=True)

    async def _failed(self, item: StoreItem, error: Exception, fresh: Video | None) -> StoreResult:
        """Retry later, until the link is dead for good; errors of ours are not counted."""
        code, counts, backoff = "result_unavailable", True, BACKOFF
        match error:
            case TooBig():
                failure = Failure(fault=Fault.REFUSED, code="video_too_big", message=str(error))
                return StoreResult(id=item.id, job=item.job, failure=failure)
            case Unreadable():
                failure = Failure(fault=Fault.REFUSED, code="video_unreadable", message=str(error))
                return StoreResult(id=item.id, job=item.job, failure=failure)
            case StorageFull() | Unavailable():
                code, counts = "storage_unavailable", False
                log.error("store.no_room", output=item.id, error=str(error))
            case NotAVideo():
                code, backoff = "video_not_stored", NO_VIDEO_BACKOFF
            case StorageError():
                code = "video_not_stored"
            case _Cut():
                counts = False
            case Unresolved():  # it says nothing of the link, and may be our own resolver's fault
                code, counts = "name_not_resolved", False
        message = str(error) or "the provider's link is dead"
        log.info("store.failed", output=item.id, job=item.job, error=message, tries=item.faults + 1)
        is_dead = self._has_outlived_its_link(item) and isinstance(error, NoFreshLink)
        wait = backoff.wait(0 if isinstance(error, _Cut) else item.faults, dice=random.random())
        return StoreResult(
            id=item.id,
            job=item.job,
            failure=Failure(fault=Fault.TRANSIENT, code=code, message=message),
            wait=None if is_dead or item.is_recovery_over else wait,
            counts=counts,
            fresh=await self._sealed(fresh) if fresh else None,
        )

    def jobs(self, results: Sequence[StoreResult]) -> list[str]:
        return [one.job for one in results if one.key or one.wait is None]

    def _has_outlived_its_link(self, item: StoreItem) -> bool:
        lives = self.engine.provider(item.account).capabilities.result_lives or LINK_LIVES
        return item.link_age > lives

    async def _sealed(self, video: Video) -> bytes:
        return await asyncio.to_thread(self.engine.vault.seal_json, source_of(video))

    async def write(self, connection: Connection, results: Sequence[StoreResult]) -> None:
        again = [one for one in results if not one.key and one.wait is not None]
        lost = {one.id: one.failure for one in results if one.failure and one.wait is None}
        stored = await record_stored(connection, [one for one in results if one.key])
        await record_lost(connection, lost)
        await record_fresh_links(connection, again)
        await due.drop(connection, self.what, stored)
        await drop_swept(connection, [one.id for one in results if one.is_swept])
        await connection.execute(
            "UPDATE output SET faults = faults + 1 WHERE id = ANY(%s)",
            ([one.id for one in again if one.counts],),
        )
        await due.put_back(
            connection,
            self.what,
            [one.id for one in again],
            after=[one.wait or 0.0 for one in again],
        )
        ended = [one.job for one in results if one.id in lost or one.id in stored]
        await settle(self.engine, connection, ended)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nothing: the video is paid for, and wanted until its job's deadline."""


def _scratch(engine: Engine) -> Path:
    folder = engine.settings.data_dir / "incoming"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


_NO_CREDENTIALS = Failure(
    fault=Fault.AUTH, code="no_credentials", message="the provider's credentials are not set"
)
