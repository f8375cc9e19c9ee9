"""Repeats without an Idempotency-Key: who may send one, and whether the first answer went out.

`watched` gives a submission its fingerprint, `WatchedAnswers` sees its answer written or not, and
`Answers` notes that in the database, after the response and for as long as it is worked on.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

import anyio
import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.database import DatabaseAway
from models.failure import RequestRefused
from models.ids import new_id
from tasks.ending import end
from tasks.engine import Engine
from tasks.repeats import Caller, canonical_hash
from tasks.resent import OPEN_SECONDS, Outcome, Unkeyed, fingerprint, record, still_answering

log = structlog.get_logger()

#: The request header that says whether identical requests may be repeats of one: `once`, or not:
#: `allow`.
HEADER: Final = "Longtake-Repeats"
#: How often a client of Stainless' making has sent this request before.
_RETRIES: Final = "X-Stainless-Retry-Count"
_MOST_RETRIES: Final = 1000
#: Seconds between two looks at the answers that take long.
_BEAT: Final = OPEN_SECONDS / 5
#: Maximum outcomes that wait to be noted, and in one transaction.
_MOST_WAITING: Final = 10_000
_BATCH: Final = 500
#: Turns in which the loop reads that a socket has ended, closes it, and tells of it.
_TURNS: Final = 3
#: Seconds for noting the last ones at the end.
_LINGER: Final = 5.0


@dataclass(slots=True, eq=False)
class Answer:
    """The answer to one request, and the submissions that it answers."""

    receive: Receive
    submissions: list[Unkeyed] = field(default_factory=list)
    #: The response's status; 0 before it begins.
    status: int = 0
    is_written: bool = False
    began: float = field(default_factory=time.monotonic)
    _is_gone: bool = False

    async def is_gone(self) -> bool:
        """Whether the client has hung up; only after the whole body was read."""
        if not self._is_gone:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            with anyio.CancelScope() as scope:
                scope.cancel()
                message = await self.receive()
                self._is_gone = message["type"] == "http.disconnect"
        return self._is_gone

    def outcomes(self) -> list[Outcome]:
        return [
            Outcome(
                id=each.id,
                fingerprint=each.fingerprint,
                retries=each.retries,
                is_written=self.is_written,
                status=self.status,
            )
            for each in self.submissions
        ]


class Answers:
    """Notes what becomes of one process's answers; one that is not noted looks lost."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: set[Answer] = set()
        self._ended: asyncio.Queue[Outcome] = asyncio.Queue(_MOST_WAITING)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._note()), asyncio.create_task(self._beat())]

    def begin(self, answer: Answer) -> None:
        self._open.add(answer)

    def end(self, answer: Answer) -> None:
        self._open.discard(answer)
        for outcome in answer.outcomes():
            try:
                self._ended.put_nowait(outcome)
            except asyncio.QueueFull:
                log.warning("answers.not_noted", reason="too many are waiting")

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self._ended.join()
        await end(*self._tasks)

    async def _note(self) -> None:
        while True:
            batch = [await self._ended.get()]
            while len(batch) < _BATCH and not self._ended.empty():
                batch.append(self._ended.get_nowait())
            try:
                await record(self._engine, batch)
            except DatabaseAway as error:
                log.warning("answers.not_noted", count=len(batch), reason=str(error))
            except Exception:
                log.exception("answers.not_noted", count=len(batch))
            for _ in batch:
                self._ended.task_done()

    async def _beat(self) -> None:
        """Keep answers open that take long; one whose client has gone is lost from then on."""
        while True:
            await asyncio.sleep(_BEAT)
            try:
                await self._look()
            except DatabaseAway as error:
                log.warning("answers.not_kept_open", reason=str(error))
            except Exception:
                log.exception("answers.not_kept_open")

    async def _look(self) -> None:
        before = time.monotonic() - _BEAT
        alive: list[str] = []
        for answer in [each for each in self._open if each.began < before]:
            if await answer.is_gone():
                self.end(answer)
            else:
                alive.extend(each.id for each in answer.submissions)
        if alive:
            await still_answering(self._engine, alive)


class WatchedAnswers:
    """ASGI middleware: sees whether the answer to a submission is written completely."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        answer = Answer(receive)
        scope.setdefault("state", {})["answer"] = answer

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            # After the last part nothing tells a client that hung up from one that is content.
            is_read = is_last and answer.submissions and not await answer.is_gone()
            await send(message)
            answer.is_written = bool(is_read)

        try:
            await self.app(scope, receive, watching)
        except Exception:
            answer.status = answer.status or HTTPStatus.INTERNAL_SERVER_ERROR  # `edge` sends it
            raise
        finally:
            if answer.submissions:
                scope["app"].state.front.answers.end(answer)


def watched(scope: Scope, caller: Caller, body: Any, *, by_default: bool) -> Caller:
    """The caller, with what its repeats are known by; none with an Idempotency-Key.

    Raises:
        RequestRefused: the header Longtake-Repeats is neither `once` nor `allow`.
    """
    headers = Headers(scope=scope)
    is_wanted = _wanted(headers, by_default=by_default)
    if caller.idempotency_key is not None or not is_wanted:
        return caller
    answer: Answer = scope["state"]["answer"]
    unkeyed = Unkeyed(
        id=new_id("sub"),
        fingerprint=fingerprint(
            caller.api_key or "",
            caller.app_id or "",
            scope["path"],
            scope["query_string"],
            str(len(answer.submissions)),  # a request of several jobs repeats none of its own
            canonical_hash(body),
        ),
        retries=_retries(headers),
        is_gone=answer.is_gone,
    )
    answer.submissions.append(unkeyed)
    scope["app"].state.front.answers.begin(answer)
    return replace(caller, unkeyed=unkeyed)


def _wanted(headers: Headers, *, by_default: bool) -> bool:
    match headers.getlist(HEADER):
        case []:
            return by_default
        case ["once"]:
            return True
        case ["allow"]:
            return False
        case given:
            shown = ", ".join(given)[:64]
            msg = f"{HEADER} must be once or allow (it is {shown!r})"
            raise RequestRefused(msg, param=HEADER)


def _retries(headers: Headers) -> int | None:
    given = headers.get(_RETRIES, "")
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(_MOST_RETRIES))
    return min(int(given), _MOST_RETRIES) if is_number else None
