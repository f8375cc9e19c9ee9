"""Callbacks: a vendor's POST to the address that its client gave, at each change of status."""

import asyncio
import heapq
import itertools
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from simulator.operations import Operation, Phase

#: Longest sleep between two looks at who is due, in seconds: a test's clock jumps unannounced.
NAP = 0.1
#: Operations that are followed at once, and callbacks that are under way at once.
MOST_FOLLOWED = 10_000
MOST_UNDER_WAY = 32
#: Callbacks that `GET /_sim/callbacks` remembers.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How one vendor calls back."""

    #: The changes that it tells.
    phases: frozenset[Phase]
    #: Answers that content it.
    content: range = range(200, 300)
    #: How often it tries again when it is not content, and how many seconds later.
    retries: int = 0
    pause: float = 0.1
    #: How long it waits for an answer, in seconds.
    timeout: float = 5.0
    #: Headers that go with a body, such as its signature.
    sign: Callable[[bytes], Mapping[str, str]] = field(default=lambda _body: {})


@dataclass(slots=True, eq=False, kw_only=True)
class _Follower:
    """Who wants to hear of an operation, and what was told last."""

    operation: Operation
    url: str
    habit: Habit
    #: What the vendor says of the operation now, as JSON.
    render: Callable[[], object]
    told: Phase | None = None


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One callback as it went: what each try was answered, None where nothing came."""

    provider: str
    operation_id: str
    url: str
    phase: str
    answers: list[int | None] = field(default_factory=list)


class Callbacks:
    """Follows operations and tells their changes, to this machine's own addresses only."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._serial = itertools.count()
        self._due: list[tuple[float, int, _Follower]] = []
        self._deliveries: deque[Delivery] = deque(maxlen=REMEMBERED)
        self._under_way: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MOST_UNDER_WAY)
        self._session: aiohttp.ClientSession | None = None

    def follow(
        self, operation: Operation, *, url: str, habit: Habit, render: Callable[[], object]
    ) -> None:
        """Tell `url` of every change from now on; other machines' addresses are told nothing."""
        if _is_this_machine(url) and len(self._due) < MOST_FOLLOWED:
            follower = _Follower(operation=operation, url=url, habit=habit, render=render)
            self._push(follower)

    async def echoes(self, url: str, challenge: Mapping[str, str], *, within: float) -> bool:
        """Whether the address answers a challenge with 200 and the same; other machines' do not."""
        if self._session is None or not _is_this_machine(url):
            return False
        timeout = aiohttp.ClientTimeout(total=within)
        try:
            async with self._session.post(
                url, json=challenge, timeout=timeout, allow_redirects=False
            ) as answer:
                return (
                    answer.status == HTTPStatus.OK and json.loads(await answer.read()) == challenge
                )
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False

    def deliveries(self) -> list[Delivery]:
        """All that have begun since the last reset, oldest first."""
        return list(self._deliveries)

    def reset(self) -> None:
        self._due.clear()
        self._deliveries.clear()

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Call back while the server runs: a cleanup context of aiohttp."""
        async with aiohttp.ClientSession() as session:
            self._session = session
            rounds = asyncio.create_task(self._go_round(session))
            yield
            tasks = (rounds, *self._under_way)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._session = None

    async def _go_round(self, session: aiohttp.ClientSession) -> None:
        while True:
            for follower in self._take_due():
                self._look_at(follower, session)
            until = self._due[0][0] - self._clock() if self._due else NAP
            await asyncio.sleep(min(max(until, 0.0), NAP))

    def _take_due(self) -> list[_Follower]:
        now = self._clock()
        taken = []
        while self._due and self._due[0][0] <= now:
            taken.append(heapq.heappop(self._due)[2])
        return taken

    def _look_at(self, follower: _Follower, session: aiohttp.ClientSession) -> None:
        phase = follower.operation.phase(self._clock())
        if phase is not follower.told and phase in follower.habit.phases:
            follower.told = phase
            task = asyncio.create_task(self._tell(follower, phase, session))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        if not phase.is_final:
            self._push(follower)

    def _push(self, follower: _Follower) -> None:
        at = follower.operation.next_change(self._clock())
        if at < math.inf:
            heapq.heappush(self._due, (at, next(self._serial), follower))

    async def _tell(
        self, follower: _Follower, phase: Phase, session: aiohttp.ClientSession
    ) -> None:
        order = follower.operation.order
        delivery = Delivery(
            provider=order.provider,
            operation_id=order.operation_id,
            url=follower.url,
            phase=phase.value,
        )
        self._deliveries.append(delivery)
        habit = follower.habit
        body = json.dumps(follower.render()).encode()
        headers = {"Content-Type": "application/json", **habit.sign(body)}
        for tries in range(1 + habit.retries):
            if tries:
                await asyncio.sleep(habit.pause)
            async with self._places:
                answer = await _post(session, follower, body=body, headers=headers)
            delivery.answers.append(answer)
            if answer in habit.content:
                return


async def _post(
    session: aiohttp.ClientSession, follower: _Follower, *, body: bytes, headers: Mapping[str, str]
) -> int | None:
    timeout = aiohttp.ClientTimeout(total=follower.habit.timeout)
    try:
        async with session.post(
            follower.url, data=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return None


def _is_this_machine(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.scheme in {"http", "https"} and (
            host == "localhost" or ip_address(host).is_loopback
        )
    except ValueError:
        return False
