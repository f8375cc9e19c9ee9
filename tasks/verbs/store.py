"""Store: bring a finished video into our storage before the provider's link dies.

Running twice is harmless: the object's key is made from the output's id, so a second copy replaces
the first byte for byte, and an output moves to `stored` once.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import structlog

from models import due
from models.advance import fail_outputs
from models.database import Connection
from models.failure import Failure, Fault
from models.state import What
from providers.answers import UnknownStatus
from providers.base import NotOffered, Phase, ProviderError, Video
from providers.exchange import converse, request_for
from scheduler.claim import Claimed
from scheduler.intervals import ELSEWHERE, backoff
from scheduler.pace import Pace
from storage.base import (
    NotAVideo,
    StorageError,
    StorageFull,
    TooBig,
    Truncated,
    Unavailable,
    video_key,
)
from storage.probe import Probe, probe
from storage.receive import Received, announced_bytes, receive
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.finish import settle
from tasks.verbs.ended import video_from
from transport.base import Stream, TransportError

log = structlog.get_logger()

#: Downloads of one video that may fail before it is given up.
TRIES = 8
#: First and longest wait after a failed download, in seconds.
RETRY_BASE, RETRY_CEILING = 2.0, 300.0
#: Seconds in which one download must be done, and in which its next bytes must come.
DOWNLOAD_TIMEOUT = 900.0
#: A link that answers so is dead: the provider is asked for a fresh one.
DEAD_LINK = frozenset({401, 403, 404, 410})


#: How a provider's link may point on, and how often.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 3


class DeadLink(Exception):
    """The provider's link no longer gives the video."""


_PROVIDER_TROUBLE = (DeadLink, TransportError, ProviderError, UnknownStatus, NotOffered)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreItem:
    """A video that the provider has and we don't."""

    id: str
    job: str
    account: str
    operation_id: str
    #: Which of its attempt's videos it is: 0, 1, …
    number: int
    source: bytes
    faults: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What came of one download: the video is ours, or why not, and when to try again."""

    id: str
    job: str
    key: str | None = None
    received: Received | None = None
    probe: Probe | None = None
    failure: Failure | None = None
    #: Seconds until the next try; None gives the video up.
    wait: float | None = None
    #: Whether this try is one of those that may fail.
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.STORE
    concurrency: int = 8
    each: int = 32
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[StoreItem]:
        rows = await self.engine.database.fetch(
            """
            SELECT output.id, output.job, attempt.account, attempt.operation_id, output.source,
                   output.faults, job.created_at,
                   (SELECT count(*) FROM output AS earlier
                    WHERE earlier.attempt = output.attempt
                      AND earlier.position < output.position)::int AS number
            FROM output JOIN attempt ON attempt.id = output.attempt JOIN job ON job.id = output.job
            WHERE output.id = ANY(%s) AND output.state = 'ready'
            """,
            ([row.id for row in claimed],),
        )
        return [StoreItem(**row) for row in rows]

    async def act(self, item: StoreItem, *, lease: str, pace: Pace) -> Brought:
        """Download, look into it, store it; whatever goes wrong is an outcome."""
        del lease, pace
        if item.account not in self.engine.accounts:
            log.warning("store.no_credentials", output=item.id, account=item.account)
            return Brought(id=item.id, job=item.job, wait=ELSEWHERE, counts=False)
        try:
            return await self._bring_somehow(item)
        except (*_PROVIDER_TROUBLE, StorageError) as error:
            return self._failed(item, error)

    async def _bring_somehow(self, item: StoreItem) -> Brought:
        """By the link that we have, else by a fresh one: a dead link is asked for afresh once."""
        video = video_from(self.engine.vault.open_json(item.source))
        if video is not None:
            try:
                return await self._bring(item, video)
            except (DeadLink, NotAVideo, Truncated):
                pass  # an expired link may answer 200 with a page that is no video
        return await self._bring(item, await self._fresh_link(item))

    async def _bring(self, item: StoreItem, video: Video) -> Brought:
        async with AsyncExitStack() as stack:
            announced: int | None
            if video.content is not None:
                chunks, announced = _pieces(video.content), len(video.content)
            else:
                stream = await self._open(stack, item, video)
                chunks, announced = stream.chunks(), announced_bytes(stream.headers)
            received = await stack.enter_async_context(
                receive(
                    chunks,
                    into=_scratch(self.engine),
                    max_bytes=self.engine.settings.max_video_bytes,
                    expected_bytes=announced,
                )
            )
            crash_point("store.downloaded")
            measures = await asyncio.to_thread(probe, received.path)
            key = video_key(item.job, item.id, item.created_at)
            await self.engine.storage.put_file(
                key, received.path, content_type=measures.content_type
            )
            crash_point("store.put")
        return Brought(id=item.id, job=item.job, key=key, received=received, probe=measures)

    async def _open(self, stack: AsyncExitStack, item: StoreItem, video: Video) -> Stream:
        """The download's answer; a few redirects are followed, with our key to its own host."""
        engine = self.engine
        account = engine.accounts[item.account]
        provider = engine.provider(item.account)
        call = provider.fetch(video)
        for _ in range(MOST_REDIRECTS + 1):
            request = replace(
                request_for(call, provider=provider, account=account, now=time.time()),
                timeout=DOWNLOAD_TIMEOUT,
                max_bytes=engine.settings.max_video_bytes + 1,
            )
            stream = await stack.enter_async_context(engine.guarded.stream(request))
            if stream.status not in REDIRECTS or "location" not in stream.headers:
                _check(stream)
                return stream
            call = replace(call, path=urljoin(request.url, stream.headers["location"]), query={})
        raise DeadLink(f"the provider's link redirects more than {MOST_REDIRECTS} times")

    async def _fresh_link(self, item: StoreItem) -> Video:
        provider = self.engine.provider(item.account)
        updates = await converse(
            provider.poll([item.operation_id]),
            provider=provider,
            account=self.engine.accounts[item.account],
            client=self.engine.fast,
            now=time.time(),
        )
        update = updates.get(item.operation_id)
        if (
            update is None
            or update.phase is not Phase.SUCCEEDED
            or len(update.videos) <= item.number
        ):
            raise DeadLink("the provider's link is dead, and it gives no fresh one")
        return update.videos[item.number]

    def _failed(self, item: StoreItem, error: Exception) -> Brought:
        """Try again later; our own store's trouble does not count against the video."""
        code, counts = "video_not_stored", True
        match error:
            case TooBig():
                failure = Failure(fault=Fault.REFUSED, code="video_too_big", message=str(error))
                return Brought(id=item.id, job=item.job, failure=failure)
            case StorageFull() | Unavailable():
                code, counts = "storage_unavailable", False
                log.error("store.no_room", output=item.id, error=str(error))
            case StorageError():
                pass
            case _:
                code = "result_unavailable"
        message = str(error) or "the provider's link is dead"
        log.info("store.failed", output=item.id, job=item.job, error=message, tries=item.faults + 1)
        wait = backoff(
            tries=item.faults, base=RETRY_BASE, ceiling=RETRY_CEILING, dice=random.random()
        )
        return Brought(
            id=item.id,
            job=item.job,
            failure=Failure(fault=Fault.TRANSIENT, code=code, message=message),
            wait=wait if not counts or item.faults + 1 < TRIES else None,
            counts=counts,
        )

    async def write(self, connection: Connection, results: Sequence[Brought]) -> None:
        stored = [one for one in results if one.key]
        again = [one for one in results if not one.key and one.wait is not None]
        lost = {one.id: one.failure for one in results if one.failure and one.wait is None}
        await _write_stored(connection, stored)
        await fail_outputs(connection, lost, of="id")
        await due.drop(connection, self.what, [one.id for one in stored] + list(lost))
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
        await settle(self.engine, connection, [one.job for one in results if one not in again])

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        await fail_outputs(connection, dict.fromkeys(ids, _POISON), of="id")
        await due.drop(connection, self.what, ids)
        cursor = await connection.execute("SELECT job FROM output WHERE id = ANY(%s)", (list(ids),))
        await settle(self.engine, connection, [row["job"] for row in await cursor.fetchall()])


async def _write_stored(connection: Connection, stored: Sequence[Brought]) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": one.id,
            "key": one.key,
            "sha256": one.received.sha256,
            "bytes": one.received.bytes,
            "content_type": one.probe.content_type,
            "duration_seconds": one.probe.duration_seconds,
            "width": one.probe.width,
            "height": one.probe.height,
            "fps": one.probe.fps,
        }
        for one in stored
        if one.received and one.probe
    ]
    async with connection.cursor() as cursor:
        await cursor.executemany(
            """
            UPDATE output SET state = 'stored', source = NULL, error = NULL, stored_at = now(),
                key = %(key)s, sha256 = %(sha256)s, bytes = %(bytes)s,
                content_type = %(content_type)s, duration_seconds = %(duration_seconds)s,
                width = %(width)s, height = %(height)s, fps = %(fps)s
            WHERE id = %(id)s AND state = 'ready'
            """,
            rows,
        )


def _check(stream: Stream) -> None:
    if stream.status in DEAD_LINK:
        raise DeadLink(f"the provider's link answers HTTP {stream.status}")
    if stream.status != 200:  # noqa: PLR2004 - the one status that carries the whole video
        raise TransportError(f"the provider's link answers HTTP {stream.status}")


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _scratch(engine: Engine) -> Path:
    folder = engine.settings.data_dir / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


_POISON = Failure(
    fault=Fault.UNKNOWN, code="internal_error", message="the video could not be stored"
)
