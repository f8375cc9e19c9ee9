"""The far side as a script: answers in the vendors' own shapes, given when the test says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache

from simulator.slate import Slate
from simulator.video import TINY, encode
from tasks.engine import Engine
from tests.integration.engine.waiting import until
from transport.base import NotSent, Request, Response, Unanswered

Reply = Callable[[Request], Awaitable[Response]]


@cache
def video() -> bytes:
    return encode(TINY, Slate("a boat", "gen4.5", "runway"), 0)


@dataclass(frozen=True, slots=True)
class Body:
    """An answer whose body comes in two pieces."""

    status: int
    headers: dict[str, str]
    content: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        middle = len(self.content) // 2
        yield self.content[:middle]
        yield self.content[middle:]


@dataclass(slots=True)
class FarSide:
    """A transport client: every request is kept, and answered by `reply`."""

    reply: Reply
    requests: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        return await self.reply(request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Body]:
        answer = await self.send(request)
        yield Body(answer.status, dict(answer.headers), answer.content)

    async def close(self) -> None:
        pass

    def posts(self) -> int:
        """Requests that cost money."""
        return sum(kind_of(request) == "submit" for request in self.requests)


def facing(engine: Engine, far_side: FarSide) -> Engine:
    """The engine with all three of its clients replaced."""
    return replace(engine, exact=far_side, polls=far_side, guarded=far_side)


@dataclass(slots=True)
class Desk:
    """Keeps every request waiting until the test answers it, one for each task that asks."""

    calls: dict[asyncio.Task[object], tuple[Request, asyncio.Future[Response]]] = field(
        default_factory=dict
    )
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self, request: Request) -> Response:
        task = asyncio.current_task()
        assert task is not None
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.calls[task] = (request, answer)
        self.arrived.set()
        try:
            return await answer
        finally:
            del self.calls[task]

    async def until_it_asks(self, task: asyncio.Task[object]) -> Request | None:
        """The request that the task waits for; None when it is done."""
        async with asyncio.timeout(20):
            while not task.done() and task not in self.calls:
                self.arrived.clear()
                arrival = asyncio.ensure_future(self.arrived.wait())
                await asyncio.wait({task, arrival}, return_when=asyncio.FIRST_COMPLETED)
                arrival.cancel()
        return None if task.done() else self.calls[task][0]

    async def answer(self, task: asyncio.Task[object], outcome: Response | Exception) -> None:
        """Give the answer and wait for what the task does with it: its end, or its next request."""
        _, waiting = self.calls[task]
        if isinstance(outcome, Exception):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)
        await until(lambda: self.calls.get(task, (None, None))[1] is not waiting)
        await self.until_it_asks(task)


def kind_of(request: Request) -> str:
    """What a request wants: submit, poll, look_up, cancel, download or deliver."""
    if "webhook-id" in request.headers:
        return "deliver"
    if request.url.endswith(".mp4"):
        return "download"
    if _is_kling(request) and request.method == "GET" and "/op-" not in request.url:
        return "look_up"  # the path ends with our external id
    return {"POST": "submit", "GET": "poll", "DELETE": "cancel"}[request.method]


def answers_to(request: Request, number: int | str) -> dict[str, Response | Exception]:
    """Everything that may become of a request, the best first; `number` makes new ids."""
    match kind_of(request):
        case "submit":
            known: dict[str, Response | Exception] = {
                "accepted": _accepted(request, f"op-{number}"),
                "refused": said(400, {"error": "no"}),
                "limited": LIMITED,
                "busy": said(503, {}),
                "away": NotSent("refused"),
            }
            return known | _TROUBLE
        case "poll":
            words = {"SUCCEEDED": "done", "RUNNING": "running", "FAILED": "failed"}
            seen = {name: _operation(request, word) for word, name in words.items()}
            strange = {"strange": _operation(request, "REHEARSING")}
            return {**seen, **strange, **_GONE, **_TROUBLE}
        case "look_up":
            marker = request.url.rpartition("/")[2]
            found = {
                "found": _kling_task(f"op-{number}", "submitted", external_task_id=marker),
                "another's": _kling_task("op-0", "submitted", external_task_id="not ours"),
            }
            return {**found, "absent": said(404, {"code": 1203, "message": "none"}), **_TROUBLE}
        case "cancel":
            return {"stopped": Response(status=204, headers={}, content=b""), **_GONE, **_TROUBLE}
        case "download":
            film = Response(status=200, headers={}, content=video())
            return {"film": film, "not a film": said(200, {}), **_GONE, **_TROUBLE}
        case _:
            taken = {"taken": said(200, {}), "unwanted": said(410, {}), "moved": said(302, {})}
            return {**taken, **_TROUBLE}


@dataclass(slots=True)
class Script:
    """Answers each kind of request with the word that is set for it, else with the best."""

    words: dict[str, str] = field(default_factory=dict)
    numbered: int = 0

    async def reply(self, request: Request) -> Response:
        self.numbered += 1
        answers = answers_to(request, self.numbered)
        word = self.words.get(kind_of(request))
        answer = answers[word] if word else next(iter(answers.values()))
        if isinstance(answer, Exception):
            raise answer
        return answer


def said(status: int, body: object, **headers: str) -> Response:
    return Response(status=status, headers=headers, content=json.dumps(body).encode())


#: What may have been acted upon although nobody can tell from the answer.
IN_DOUBT = ("broken", "lost", "garbage")

_TROUBLE: dict[str, Response | Exception] = {
    "broken": said(500, {}),
    "lost": Unanswered("no answer within 30 s"),
    "garbage": Response(status=200, headers={}, content=b"\x89<"),
}
_GONE: dict[str, Response | Exception] = {"gone": said(404, {"error": "no such thing"})}
LIMITED = said(429, {"error": "slow down"}, **{"retry-after": "0"})

_RUNWAY_LINK = "https://links.test/film.mp4"
_KLING_WORDS = {"SUCCEEDED": "succeed", "RUNNING": "processing", "FAILED": "failed"}
_LUMA_WORDS = {"SUCCEEDED": "completed", "RUNNING": "processing", "FAILED": "failed"}


def _operation(request: Request, word: str) -> Response:
    """An operation in the vendor's own shape."""
    id_ = request.url.rpartition("/")[2]
    if _is_kling(request):
        result = {"videos": [{"url": _RUNWAY_LINK}]} if word == "SUCCEEDED" else {}
        return _kling_task(id_, _KLING_WORDS.get(word, word), task_result=result)
    if "/tasks/" in request.url:
        task = {"id": id_, "status": word, "createdAt": "2026-01-01T00:00:00Z"}
        extra = {"progress": 0.4} if word == "RUNNING" else {}
        return said(200, task | extra | ({"output": [_RUNWAY_LINK]} if word == "SUCCEEDED" else {}))
    generation = {"id": id_, "type": "video", "state": _LUMA_WORDS.get(word, word)}
    films = [{"type": "video", "url": _RUNWAY_LINK}]
    return said(200, generation | {"output": films if word == "SUCCEEDED" else []})


def _accepted(request: Request, operation_id: str) -> Response:
    if _is_kling(request):
        return _kling_task(operation_id, "submitted")
    return said(200, {"id": operation_id})


def _is_kling(request: Request) -> bool:
    """Whether it goes to Kling's older API."""
    return "/v1/videos/" in request.url


def _kling_task(id_: str, status: str, *, external_task_id: str = "", **fields: object) -> Response:
    info = {"task_info": {"external_task_id": external_task_id}} if external_task_id else {}
    task = {"task_id": id_, "task_status": status, **info, **fields}
    return said(200, {"code": 0, "message": "SUCCEED", "data": task})
