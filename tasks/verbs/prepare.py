"""Prepare: fetch the pictures behind an attempt's links, for a provider that takes no links.

Users choose whom this waits for. So no submit does it, and the lane of these rows is their tenant:
a tenant whose pictures hang holds a few of a pump's places, however many they are.

Running twice is harmless: a picture that is kept is not fetched again.
"""

import asyncio
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO

import structlog

from models import due, pictures
from models.advance import tell
from models.database import Connection
from models.failure import Failure
from models.locks import lock_jobs
from models.pictures import SealedPicture
from models.records import Json
from models.rows.attempts import PLAN
from models.rows.jobs import SCENE
from models.verbs import What
from scheduler.claim import Claimed
from scheduler.intervals import Backoff
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.fetching import fetch
from tasks.outcomes.refused import end_unsendable
from tasks.pictures import BadPicture, PictureTrouble, data_uri
from tasks.rebuild import plan_of
from tasks.verbs.verb import Hold, Verb

log = structlog.get_logger()

#: Before the pictures of an attempt are fetched again, one of which was not to be had.
BACKOFF = Backoff(base=2.0, ceiling=300.0)
#: Time for the pictures of one attempt, in seconds: what was fetched by then is kept.
SECONDS = 60.0
#: Maximum size of all pictures of a job together, as data URIs.
MOST_TOGETHER = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareItem:
    """A planned attempt whose pictures are to be fetched."""

    id: str
    job: str
    tenant: str
    account: str
    rejections: int
    plan: Json
    scene: bytes | None = field(repr=False)
    #: When it became due: its place in the queue of submits.
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What became of an attempt's pictures; without a failure and a wait all of them are kept."""

    item: PrepareItem
    #: One can never be had.
    failure: Failure | None = None
    #: Why one was not to be had now, and seconds until the next try.
    reason: str = ""
    wait: float | None = None

    @property
    def id(self) -> str:
        return self.item.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare(Verb[PrepareItem, Fetched]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.PREPARE
    #: A download takes no CPU, and goes to a file.
    concurrency: int = 64
    #: What a tenant holds of these places, all of which may hang.
    each: int = 8
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[PrepareItem]:
        rows = await self.engine.database.fetch(
            f"""
            SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.rejections,
                   {PLAN} AS plan, {SCENE} AS scene
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.id = ANY(%s) AND attempt.state = 'planned'
            """,  # noqa: S608 - constants
            ([row.id for row in claimed],),
        )
        since = {row.id: row.since for row in claimed}
        return [PrepareItem(**row, since=since[row["id"]]) for row in rows]

    async def act(self, item: PrepareItem, hold: Hold) -> Fetched:
        """Fetch what is missing, and keep each picture as soon as it is there."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._fetch_missing(item, hold.lease)
        except BadPicture as error:
            return Fetched(item=item, failure=error.failure)
        except PictureTrouble as error:
            return self._again(item, str(error))
        except TimeoutError:
            return self._again(item, f"the pictures took longer than {SECONDS:g} s")
        except OSError as error:
            return self._again(item, f"the temporary folder failed ({type(error).__name__})")
        return Fetched(item=item)

    def _again(self, item: PrepareItem, reason: str) -> Fetched:
        wait = BACKOFF.wait(item.rejections, dice=random.random())
        log.info("prepare.put_off", attempt=item.id, job=item.job, reason=reason, wait=round(wait))
        return Fetched(item=item, reason=reason, wait=wait)

    async def _fetch_missing(self, item: PrepareItem, lease: str) -> None:
        plan = await plan_of(self.engine, item)
        uses = await self.engine.database.run_statement(
            lambda connection: pictures.uses_of(connection, item.job)
        )
        room = MOST_TOGETHER - sum(use.bytes for use in uses.values())
        missing: dict[str, list[str]] = {}
        for name, link in plan.links.items():
            if name not in uses:
                missing.setdefault(link, []).append(name)
        for link, names in missing.items():
            room -= await self._fetch(item, link, names, lease=lease)
            if room < 0:
                raise BadPicture(
                    f"the job's pictures are larger than {MOST_TOGETHER // 2**20} MB together"
                )

    async def _fetch(
        self, item: PrepareItem, link: str, names: Sequence[str], *, lease: str
    ) -> int:
        """Fetch a picture and keep it under its parameters; returns its length as a data URI."""
        with tempfile.TemporaryFile() as file:
            kind = await fetch(self.engine, link, file)
            async with self.engine.one_picture:
                sealed = await asyncio.to_thread(self._sealed, file, kind, item.tenant)
                await self._keep(item, dict.fromkeys(names, sealed), lease=lease)
        crash_point("prepare.kept")
        return sealed.bytes

    def _sealed(self, file: BinaryIO, kind: str, tenant: str) -> SealedPicture:
        file.seek(0)
        uri = data_uri(file.read(), kind)
        return pictures.seal(self.engine.vault, uri, tenant=tenant)

    async def _keep(
        self, item: PrepareItem, fetched: Mapping[str, SealedPicture], *, lease: str
    ) -> None:
        """Keep a picture for a job that is still to be sent: its end would remove it."""

        async def work(connection: Connection) -> None:
            await lock_jobs(connection, [item.job])
            if not await due.hold(connection, self.what, [item.id], lease=lease):
                return
            uses = await pictures.uses_of(connection, item.job)
            new = {name: each for name, each in fetched.items() if name not in uses}
            await pictures.keep(connection, item.job, new, tenant=item.tenant, fetched=True)

        await self.engine.database.run(work)

    def jobs(self, results: Sequence[Fetched]) -> list[str]:
        return [one.item.job for one in results if one.wait is None]

    async def write(self, connection: Connection, results: Sequence[Fetched]) -> None:
        again = {one.id: one.wait for one in results if one.wait is not None}
        bad = {one.id: one.failure for one in results if one.failure is not None}
        ready = [one.item for one in results if one.wait is None and one.failure is None]
        await due.drop(connection, self.what, [item.id for item in ready])
        await due.put(
            connection,
            What.SUBMIT,
            [
                due.Row(id=item.id, lane=item.account, tenant=item.tenant, at=item.since)
                for item in ready
            ],
        )
        await connection.execute(
            "UPDATE attempt SET rejections = rejections + 1 WHERE id = ANY(%s)", (list(again),)
        )
        await due.put_back(connection, self.what, list(again), after=list(again.values()))
        first = [one for one in results if one.wait is not None and not one.item.rejections]
        told = [(one.item.job, {"attempt": one.id, "reason": one.reason}) for one in first]
        await tell(connection, "attempt.picture_unavailable", told)
        await end_unsendable(self.engine, connection, bad)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nothing: a planned attempt ends with its job."""
