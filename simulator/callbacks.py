"""Callbacks: a vendor's POST to the client's URL at each change of status."""

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

#: Maximum sleep between checks of what is due, in seconds: test clocks jump unannounced.
NAP = 0.1
#: Maximum operations followed, and callbacks in progress.
MAX_FOLLOWED = 10_000
MAX_IN_PROGRESS = 32
#: Callbacks kept for `GET /_sim/callbacks`.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPolicy:
    """One vendor's callback behaviour."""

    #: The phases it reports.
    phases: frozenset[Phase]
    #: Statuses it accepts.
    accepted: range = range(200, 300)
    #: Number of retries, and the delay between them in seconds.
    retries: int = 0
    pause: float = 0.1
    #: Timeout of a callback, in seconds.
    timeout: float = 5.0
    #: Headers for a body, such as its signature.
    sign: Callable[[bytes], Mapping[str, str]] = field(default=lambda _body: {})


@dataclass(slots=True, eq=False, kw_only=True)
class _Subscription:
    """A subscription to an operation, and the last phase sent."""

    operation: Operation
    url: str
    policy: CallbackPolicy
    #: The operation as the vendor reports it, as JSON.
    render: Callable[[], object]
    sent: Phase | None = None


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One callback; `answers` has each try's status, None without a response."""

    provider: str
    operation_id: str
    url: str
    phase: str
    answers: list[int | None] = field(default_factory=list)


class Callbacks:
    """Follows operations and reports their changes, to loopback URLs only."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        is_lost: Callable[[Operation], bool] = lambda _operation: False,
    ) -> None:
        """`is_lost` is asked before each callback whether a fault keeps it from being sent."""
        self._clock = clock
        self._is_lost = is_lost
        self._serial = itertools.count()
        self._due: list[tuple[float, int, _Subscription]] = []
        self._deliveries: deque[Delivery] = deque(maxlen=REMEMBERED)
        self._in_progress: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MAX_IN_PROGRESS)
        self._session: aiohttp.ClientSession | None = None

    def follow(
        self,
        operation: Operation,
        *,
        url: str,
        policy: CallbackPolicy,
        render: Callable[[], object],
    ) -> None:
        """Send every change from now on to `url`; URLs of other machines are ignored."""
        if _is_this_machine(url) and len(self._due) < MAX_FOLLOWED:
            subscription = _Subscription(operation=operation, url=url, policy=policy, render=render)
            self._push(subscription)

    async def echoes(self, url: str, challenge: Mapping[str, str], *, within: float) -> bool:
        """Whether the URL echoes a challenge with 200; False for other machines."""
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
        """All callbacks begun since the last reset, oldest first."""
        return list(self._deliveries)

    def reset(self) -> None:
        self._due.clear()
        self._deliveries.clear()

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Send callbacks while the server runs; an aiohttp cleanup context."""
        async with aiohttp.ClientSession() as session:
            self._session = session
            rounds = asyncio.create_task(self._run(session))
            yield
            tasks = (rounds, *self._in_progress)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._session = None

    async def _run(self, session: aiohttp.ClientSession) -> None:
        while True:
            for subscription in self._take_due():
                self._check(subscription, session)
            until = self._due[0][0] - self._clock() if self._due else NAP
            await asyncio.sleep(min(max(until, 0.0), NAP))

    def _take_due(self) -> list[_Subscription]:
        now = self._clock()
        taken = []
        while self._due and self._due[0][0] <= now:
            taken.append(heapq.heappop(self._due)[2])
        return taken

    def _check(self, subscription: _Subscription, session: aiohttp.ClientSession) -> None:
        phase = subscription.operation.phase(self._clock())
        if phase is not subscription.sent and phase in subscription.policy.phases:
            subscription.sent = phase
            if not self._is_lost(subscription.operation):
                self._begin(subscription, phase, session)
        if not phase.is_final:
            self._push(subscription)

    def _begin(
        self, subscription: _Subscription, phase: Phase, session: aiohttp.ClientSession
    ) -> None:
        task = asyncio.create_task(self._deliver(subscription, phase, session))
        self._in_progress.add(task)
        task.add_done_callback(self._in_progress.discard)

    def _push(self, subscription: _Subscription) -> None:
        at = subscription.operation.next_change(self._clock())
        if at < math.inf:
            heapq.heappush(self._due, (at, next(self._serial), subscription))

    async def _deliver(
        self, subscription: _Subscription, phase: Phase, session: aiohttp.ClientSession
    ) -> None:
        order = subscription.operation.order
        delivery = Delivery(
            provider=order.provider,
            operation_id=order.operation_id,
            url=subscription.url,
            phase=phase.value,
        )
        self._deliveries.append(delivery)
        policy = subscription.policy
        body = json.dumps(subscription.render()).encode()
        headers = {"Content-Type": "application/json", **policy.sign(body)}
        for tries in range(1 + policy.retries):
            if tries:
                await asyncio.sleep(policy.pause)
            async with self._places:
                answer = await _post(session, subscription, body=body, headers=headers)
            delivery.answers.append(answer)
            if answer in policy.accepted:
                return


async def _post(
    session: aiohttp.ClientSession,
    subscription: _Subscription,
    *,
    body: bytes,
    headers: Mapping[str, str],
) -> int | None:
    timeout = aiohttp.ClientTimeout(total=subscription.policy.timeout)
    try:
        async with session.post(
            subscription.url, data=body, headers=headers, timeout=timeout, allow_redirects=False
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
