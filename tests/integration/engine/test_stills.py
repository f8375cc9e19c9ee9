"""Stills are stored and deleted with their video, even if processes die; doctor finds no errors."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from models.failure import RequestRefused
from models.invariants import violations
from models.verbs import What
from storage.base import STILLS, Unavailable, Unreadable, stills_key
from storage.facts import Stills
from storage.inspectors import Inspectors
from storage.parts import PREFIX
from storage.receive import ABANDONED_AFTER
from tasks import jobs, stills
from tasks.deletion import delete
from tasks.engine import Engine
from tasks.jobs import StoredVideo
from tasks.stills import StillsMaker
from tasks.upkeep.removals import remove_some
from tasks.upkeep.retention import prune_once
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, Script, facing
from tests.integration.engine.lock_order import LockOrder
from tests.integration.engine.test_retention import age, ended, pump

pytestmark = pytest.mark.anyio


class Looking(Inspectors):
    """Inspectors that count their calls; each runs `before` and then raises `trouble`, if set."""

    trouble: Exception | None = None
    before: Callable[[], Awaitable[object]] | None = None
    looks = 0

    async def stills(self, path: Path) -> Stills:
        self.looks += 1
        if self.before is not None:
            await self.before()
        if self.trouble is not None:
            raise self.trouble
        return await super().stills(path)


@dataclass(slots=True)
class Putting:
    """The engine's storage; `before[ending]` runs before a still with that ending is put.

    `before_removal` does so before a removal. `reads` limits how much of an object can be read.
    """

    real: Any
    before: dict[str, Any] = field(default_factory=dict)
    before_removal: dict[str, Any] = field(default_factory=dict)
    reads: int | None = None

    async def put_file(self, key: str, path: Path, *, content_type: str) -> None:
        for ending, work in list(self.before.items()):
            if key.endswith(ending):
                await work()
        await self.real.put_file(key, path, content_type=content_type)

    async def delete(self, key: str) -> None:
        for ending, work in list(self.before_removal.items()):
            if key.endswith(ending):
                await work()
        await self.real.delete(key)

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        chunks: AsyncIterator[bytes] = self.real.read(key, start=start, end=end or self.reads)
        return chunks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    made, watcher = make_engine(LONGTAKE_KEEP_VIDEOS_DAYS=30), make_engine()
    order = LockOrder(watcher.database)
    order.watch(made.database)
    made = replace(
        facing(made, FarSide(Script().reply)),
        storage=Putting(made.storage),
        inspectors=Looking(),
    )
    yield made
    assert await made.database.run(violations) == []
    await made.close()
    await watcher.close()
    # Retention skips locked outputs, so it does not need the locks of their jobs.
    assert [each for each in order.faults if "ORDER BY stored_at" not in each] == []
    assert order.watched


def looking(engine: Engine) -> Looking:
    assert isinstance(engine.inspectors, Looking)
    return engine.inspectors


def putting(engine: Engine) -> Putting:
    assert isinstance(engine.storage, Putting)
    return engine.storage


async def video_of(engine: Engine, job: str) -> StoredVideo:
    return await jobs.stored_output(engine, job, tenant="default", position=0)


async def rows(engine: Engine, sql: str) -> list[dict[str, Any]]:
    return await engine.database.fetch(sql)


def pictures(engine: Engine) -> list[Path]:
    return [path for path in engine.settings.data_dir.rglob("*.jpg") if path.is_file()]


async def die_before_the_sheet(engine: Engine, job: str) -> None:
    """Die while putting the sheet: the poster is stored, but nothing is committed."""

    async def die() -> None:
        raise asyncio.CancelledError

    putting(engine).before["sheet.jpg"] = die
    with pytest.raises(asyncio.CancelledError):
        await StillsMaker(engine).key_of(await video_of(engine, job), "poster")


async def test_stills_are_made_once_for_many_requests_and_kept(engine: Engine) -> None:
    job = await ended(engine)
    video, maker = await video_of(engine, job), StillsMaker(engine)
    assert video.stills_bytes is None

    keys = await asyncio.gather(
        *(maker.key_of(video, kind) for kind in ("poster", "sheet", "poster"))
    )
    again = await video_of(engine, job)
    later = await StillsMaker(engine).key_of(again, "sheet")

    assert keys == [stills_key(video.key, kind) for kind in ("poster", "sheet", "poster")]
    assert later == keys[1]
    assert looking(engine).looks == 1
    sizes = [await engine.storage.head(key) for key in keys[:2]]
    assert again.stills_bytes == sum(size or 0 for size in sizes)
    assert all(path.read_bytes().startswith(b"\xff\xd8") for path in pictures(engine))
    assert await rows(engine, "SELECT key FROM removal") == []
    assert not list((engine.settings.data_dir / "incoming").iterdir())


async def test_a_video_that_breaks_the_decoder_has_none_and_is_not_tried_again(
    engine: Engine,
) -> None:
    job = await ended(engine)
    looking(engine).trouble = Unreadable("it crashes the decoder")

    for _ in range(2):
        with pytest.raises(RequestRefused, match="no stills"):
            await StillsMaker(engine).key_of(await video_of(engine, job), "poster")

    assert looking(engine).looks == 1
    assert (await video_of(engine, job)).stills_bytes == 0


async def test_an_error_of_our_own_is_tried_again(engine: Engine) -> None:
    job = await ended(engine)
    looking(engine).trouble = Unavailable("the process was killed")
    with pytest.raises(Unavailable):
        await StillsMaker(engine).key_of(await video_of(engine, job), "poster")
    looking(engine).trouble = None

    assert (await video_of(engine, job)).stills_bytes is None
    assert await StillsMaker(engine).key_of(await video_of(engine, job), "poster")


@pytest.mark.parametrize("limit", ["MOST_VIDEO", "MOST_STILL"])
async def test_videos_and_stills_that_are_too_large_are_left_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    job = await ended(engine)
    monkeypatch.setattr(stills, limit, 10)

    with pytest.raises(RequestRefused, match="no stills"):
        await StillsMaker(engine).key_of(await video_of(engine, job), "poster")

    assert pictures(engine) == []


async def test_stills_are_deleted_when_retention_deletes_their_video(engine: Engine) -> None:
    job = await ended(engine)
    await StillsMaker(engine).key_of(await video_of(engine, job), "poster")
    without = await ended(engine)
    for each in (job, without):
        await age(engine, each, days=31)

    pruned = await prune_once(engine)

    assert (pruned.videos, pruned.objects) == (2, 4)
    assert pictures(engine) == []
    assert await rows(engine, "SELECT id FROM output WHERE stills_bytes IS NOT NULL") == []


async def test_stills_are_deleted_with_an_old_job(engine: Engine, make_engine: MakeEngine) -> None:
    job = await ended(engine)
    await StillsMaker(engine).key_of(await video_of(engine, job), "poster")
    await age(engine, job, days=61)
    settings = make_engine(LONGTAKE_KEEP_JOBS_DAYS=60).settings

    await prune_once(replace(engine, settings=settings))

    assert pictures(engine) == []
    assert await rows(engine, "SELECT key FROM removal") == []


async def test_stills_are_erased_with_a_deleted_job(engine: Engine) -> None:
    job = await ended(engine)
    await StillsMaker(engine).key_of(await video_of(engine, job), "poster")
    assert len(pictures(engine)) == 2

    await delete(engine, job, tenant="default")
    await pump(engine, What.ERASE)

    assert pictures(engine) == []
    assert await rows(engine, "SELECT id FROM output WHERE stills_bytes IS NOT NULL") == []


@pytest.mark.parametrize("ending", ["poster.jpg", "sheet.jpg"])
async def test_no_stills_remain_of_a_video_that_is_deleted_while_they_are_put(
    engine: Engine, ending: str
) -> None:
    job = await ended(engine)
    video = await video_of(engine, job)

    async def erase() -> None:
        await delete(engine, job, tenant="default")
        await pump(engine, What.ERASE)

    putting(engine).before[ending] = erase
    await StillsMaker(engine).key_of(video, "poster")

    assert pictures(engine) == []
    (row,) = await rows(engine, "SELECT stills_bytes FROM output")
    assert row["stills_bytes"] is None


async def test_stills_of_a_process_that_died_before_its_commit_are_removed(engine: Engine) -> None:
    job = await ended(engine)
    await die_before_the_sheet(engine, job)
    assert len(pictures(engine)) == 1
    await engine.database.fetch("UPDATE removal SET at = now()")

    await prune_once(engine)

    assert pictures(engine) == []
    assert await engine.storage.head((await video_of(engine, job)).key)


async def test_stills_that_two_processes_make_are_kept(engine: Engine) -> None:
    job = await ended(engine)
    video = await video_of(engine, job)

    async def other() -> None:
        putting(engine).before.clear()
        await StillsMaker(engine).key_of(video, "sheet")

    putting(engine).before["poster.jpg"] = other
    await StillsMaker(engine).key_of(video, "poster")
    await engine.database.fetch("UPDATE removal SET at = now()")
    await prune_once(engine)

    assert len(pictures(engine)) == 2
    assert (await video_of(engine, job)).stills_bytes


async def test_the_copy_of_a_killed_process_is_deleted_by_the_next_request(
    engine: Engine,
) -> None:
    job = await ended(engine)
    left = engine.settings.data_dir / "incoming" / f"{PREFIX}left"
    left.write_bytes(b"half a video")
    long_ago = time.time() - ABANDONED_AFTER.total_seconds() - 60
    os.utime(left, (long_ago, long_ago))

    await StillsMaker(engine).key_of(await video_of(engine, job), "poster")

    assert not left.exists()


async def test_a_request_waits_for_stills_for_a_limited_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, maker = await video_of(engine, await ended(engine)), StillsMaker(engine)
    may_go = asyncio.Event()
    looking(engine).before = may_go.wait
    monkeypatch.setattr(stills, "ANSWERS_WITHIN", 0.0)

    with pytest.raises(TimeoutError):
        await maker.key_of(video, "poster")

    monkeypatch.setattr(stills, "ANSWERS_WITHIN", stills.MAKES_WITHIN)
    may_go.set()
    assert await maker.key_of(video, "poster")
    assert looking(engine).looks == 1


async def test_a_truncated_copy_proves_nothing_about_the_video(engine: Engine) -> None:
    job = await ended(engine)
    putting(engine).reads = 100
    with pytest.raises(Unavailable):
        await StillsMaker(engine).key_of(await video_of(engine, job), "poster")
    putting(engine).reads = None

    assert await StillsMaker(engine).key_of(await video_of(engine, job), "poster")


async def test_a_process_that_fails_keeps_the_stills_of_another(
    engine: Engine,
) -> None:
    job = await ended(engine)
    video, other = await video_of(engine, job), replace(engine, inspectors=Looking())
    looking(engine).before = lambda: StillsMaker(other).key_of(video, "poster")
    looking(engine).trouble = Unreadable("it takes too much CPU time")

    assert await StillsMaker(engine).key_of(video, "poster")

    assert (await video_of(engine, job)).stills_bytes
    await age(engine, job, days=31)
    await prune_once(engine)
    assert pictures(engine) == []
    other.inspectors.close()


async def test_a_still_that_was_put_before_a_failed_try_is_removed(engine: Engine) -> None:
    job = await ended(engine)
    await die_before_the_sheet(engine, job)
    looking(engine).trouble = Unreadable("it takes too much CPU time")
    with pytest.raises(RequestRefused, match="no stills"):
        await StillsMaker(engine).key_of(await video_of(engine, job), "poster")
    await engine.database.fetch("UPDATE removal SET at = now()")

    await prune_once(engine)

    assert pictures(engine) == []


async def test_a_removal_that_is_put_off_meanwhile_is_still_due_later(engine: Engine) -> None:
    job = await ended(engine)
    video = await video_of(engine, job)
    announced, may_put = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        announced.set()
        await may_put.wait()

    async def die() -> None:
        raise asyncio.CancelledError

    putting(engine).before |= {"poster.jpg": hold, "sheet.jpg": die}
    keys = [stills_key(video.key, kind) for kind in STILLS]
    await engine.database.fetch("INSERT INTO removal (key) SELECT unnest(%s::text[])", (keys,))
    made = list[asyncio.Task[str]]()

    async def make_again() -> None:
        made.append(asyncio.create_task(StillsMaker(engine).key_of(video, "poster")))
        await announced.wait()

    putting(engine).before_removal["poster.jpg"] = make_again
    await remove_some(engine)
    may_put.set()
    with pytest.raises(asyncio.CancelledError):
        await made[0]
    assert len(pictures(engine)) == 1
    await engine.database.fetch("UPDATE removal SET at = now()")
    putting(engine).before_removal.clear()

    await prune_once(engine)

    assert pictures(engine) == []


async def test_doctor_tells_of_stills_that_are_to_be_removed(engine: Engine) -> None:
    job = await ended(engine)
    key = await StillsMaker(engine).key_of(await video_of(engine, job), "sheet")
    await engine.database.fetch("INSERT INTO removal (key) VALUES (%s)", (key,))

    found = await engine.database.run(violations)

    assert [each.kind for each in found] == ["removal_of_kept"]
    await engine.database.fetch("DELETE FROM removal")
