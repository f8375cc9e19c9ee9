"""A call that stays open until its job's videos are done: its status, white space, its body."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.answers import encode
from api.caller import milliseconds_since
from api.dialects.submitting import read_own, view_of
from api.errors import error_answer
from api.front import begin_request, front_of, in_time, key_of
from api.native.content import VideoAnswer
from models.failure import RequestRefused
from models.records import Json
from models.state import JobState
from storage.base import StorageError
from tasks import jobs
from tasks.history import Asked
from tasks.view import WEBHOOK_LINK_LIVES, ShownJob

log = structlog.get_logger()

#: How long after its deadline a job is waited for, in seconds: workers may be late.
PATIENCE: Final = 60.0
#: Bytes of a video that are encoded at a time: a multiple of three, so that base64 needs no
#: padding between pieces.
_PIECE: Final = 3 * 2**16
#: The words that our own adapter and others know a safety refusal by.
_MODERATED: Final = "Content policy violation: "


class _Late(Exception):
    """The job failed after the status was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """One request that waits for the job it submitted."""

    request: Request
    job: str
    #: Of every response, with `X-Job-ID`.
    headers: Mapping[str, str]
    #: By `time.perf_counter()`.
    began: float
    #: Whether the response contains the videos themselves.
    inline: bool

    async def answer(self) -> Response:
        """The response, its status held back for a while; then one that is sent as it comes.

        Raises:
            ClientDisconnect: the client hung up; the job goes on.
        """
        settings = front_of(self.request).engine.settings
        if not await self._ended_unless_left(within=settings.layer_headers_seconds):
            return _Held(self._spaced(), status=200, headers=self._headers())
        try:
            pieces = self._pieces(await self._done())
            first = await anext(pieces)
        except RequestRefused as refusal:
            return error_answer(refusal, self.request.scope, headers=self._headers())
        except StorageError as error:
            log.error("layer.video_missing", job=self.job, reason=str(error))  # noqa: TRY400 - no traceback says more
            return error_answer(_UNREADABLE, self.request.scope, headers=self._headers())
        return _Held(_chained(first, pieces), status=200, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        own = {
            "X-Job-ID": self.job,
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy that buffers would hold back the white space
        }
        return own | dict(self.headers)

    async def _ended_unless_left(self, *, within: float) -> bool:
        left = asyncio.create_task(_until_left(self.request.receive))
        ends = asyncio.create_task(self._has_ended(within=within))
        try:
            await asyncio.wait({left, ends}, return_when=asyncio.FIRST_COMPLETED)
            if not ends.done():
                raise ClientDisconnect
            return ends.result()
        finally:
            left.cancel()
            ends.cancel()

    async def _has_ended(self, *, within: float) -> bool:
        watcher = front_of(self.request).job_watcher
        return await watcher.is_over(Asked(job=self.job), within=within)

    async def _spaced(self) -> AsyncIterator[bytes]:
        """White space until the job has ended, then the body; raises _Late for a failure."""
        settings = front_of(self.request).engine.settings
        until = self.began + settings.layer_deadline_seconds + PATIENCE
        yield b" "
        while time.perf_counter() < until:
            if await self._has_ended(within=settings.layer_space_seconds):
                break
            yield b" "
        try:
            async for piece in self._pieces(await self._done()):
                yield piece
        except (RequestRefused, StorageError) as error:
            raise _Late(str(error)) from error

    async def _done(self) -> ShownJob:
        """The job with its videos; raises RequestRefused if it has none."""
        begin_request()  # what the submission waited for is minutes ago
        job = await read_own(self.request, self.job)
        match job.state:
            case JobState.COMPLETE:
                return job
            case JobState.FAILED | JobState.CANCELLED:
                raise RequestRefused(_reason(job), type="internal_error")
            case _:
                msg = f"job {self.job} is not done in time; it goes on, and its own API shows it"
                raise RequestRefused(msg, type="internal_error")

    async def _pieces(self, job: ShownJob) -> AsyncIterator[bytes]:
        view = view_of(self.request, job, link_lives=WEBHOOK_LINK_LIVES)
        took = milliseconds_since(self.began)
        head: Json = {
            "id": job.id,
            "model": view["perf"]["model_used"],
            "cost": view["cost_usd"],
            "latency": took,
            "latencyMs": took,
        }
        stored = [output for output in view["outputs"] if "url" in output]
        if not self.inline:
            videos = [{"url": each["url"], "duration": _seconds(each, view)} for each in stored]
            yield encode(head | {"videos": videos})
            return
        opening = encode(head).removesuffix(b"}") + b',"videos":['
        for output in stored:
            async for piece in self._encoded(output["index"]):
                yield opening + piece
                opening = b""
            yield b'","duration":' + encode(_seconds(output, view)) + b"}"
            opening = b","
        yield opening.removesuffix(b",") + b"]}"

    async def _encoded(self, position: int) -> AsyncIterator[bytes]:
        """The beginning of a video's object: the video in base64, piece by piece."""
        engine, tenant = front_of(self.request).engine, key_of(self.request).tenant
        video = await in_time(
            jobs.stored_output(engine, self.job, tenant=tenant, position=position)
        )
        opening, rest = b'{"base64":"', b""
        async for piece in engine.storage.read(video.key):
            rest += piece
            whole = len(rest) - len(rest) % 3
            for begin in range(0, whole, _PIECE):
                yield opening + b64encode(rest[begin : min(begin + _PIECE, whole)])
                opening = b""
            rest = rest[whole:]
        yield opening + b64encode(rest)


_UNREADABLE: Final = RequestRefused(
    "the video can't be read from its storage", type="internal_error"
)


def _seconds(output: Json, view: Json) -> float:
    seconds: float = output.get("duration_seconds") or view["duration_seconds"]
    return seconds


def _reason(job: ShownJob) -> str:
    error = job.error or {}
    message = str(error.get("message") or "Video generation failed")
    return _MODERATED + message if error.get("code") == "content_policy" else message


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Held(VideoAnswer):
    """A body that is left without its end when its job fails late: the client's promise rejects.

    The server closes the connection of a response that has no end.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], *, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(pieces, status=status, headers=headers)
        del self.headers["Content-Length"]  # of the body that it was made without

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except (_Late, StorageError) as error:
            log.warning("layer.failed_late", job=self.headers["X-Job-ID"], reason=str(error))
