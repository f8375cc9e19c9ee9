"""Admission: what an unauthenticated request may use, and how invalid keys are throttled.

Each process has its own budgets. Behind a trusted proxy, the address is the
forwarded client's.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.addresses import Networks, client_address
from api.errors import error_answer, unavailable
from api.limits import Limits
from models.failure import RequestRefused

T = TypeVar("T")

#: Answered however much else is going on: they tell whether the process lives, and how it does.
ALWAYS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
#: Keys and tokens of one address that are looked up in the database at a time.
_LOOK_UPS: Final = 2
#: Seconds until a request that found no place may come again.
_ASK_AGAIN: Final = 1.0
#: Maximum number of addresses whose invalid keys are counted; the least recent is dropped first.
_MOST_ADDRESSES: Final = 10_000
#: Headers that may hold a key; the second is a dialect's.
_KEYS: Final = frozenset({b"authorization", b"x-api-key"})
_STATE: Final = "admitted"
_MINUTE: Final = 60.0


class InvalidKeys:
    """Counts invalid keys by address; above a limit per minute, the address is throttled."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        #: What an address has left, and when that was; it grows back within a minute.
        self._left: dict[str, tuple[float, float]] = {}

    def count(self, address: str) -> float:
        """Count one; the seconds until the address may be wrong again, 0 if it may be now."""
        now = self._clock()
        left, at = self._left.pop(address, (self._most, now))
        left = min(self._most, left + (now - at) * self._most / _MINUTE)
        is_over = left < 1
        self._left[address] = (left if is_over else left - 1, now)
        if len(self._left) > _MOST_ADDRESSES:
            del self._left[next(iter(self._left))]
        return (1 - left) * _MINUTE / self._most if is_over else 0.0


class Admission:
    """The budgets of one process."""

    def __init__(self, limits: Limits, *, proxies: Networks, invalid_keys: InvalidKeys) -> None:
        self.limits = limits
        self.proxies = proxies
        self.invalid_keys = invalid_keys
        #: Requests in progress, and those without a valid key so far, by address.
        self.count = 0
        self.unknown: Counter[str] = Counter()
        self._look_ups: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def look_ups(self, address: str) -> asyncio.Semaphore:
        """The turns of an address at the database."""
        return self._look_ups.setdefault(address, asyncio.Semaphore(_LOOK_UPS))

    def refusal(self, address: str, *, has_key: bool = False) -> RequestRefused | None:
        """Why one more request of an address is not let in; `has_key` if its key was right before.

        Such a request has no part of its address' share.
        """
        if self.count >= self.limits.requests:
            msg = f"this process has {self.limits.requests} requests in progress, as many as it may"
            return unavailable(f"{msg}; try again", code="overloaded", retry_after=_ASK_AGAIN)
        if not has_key and self.unknown[address] >= self.limits.of_address:
            msg = (
                f"your address has {self.limits.of_address} requests in progress that have shown "
                "no valid key, as many as it may have; try again"
            )
            code = "too_many_requests"
            return RequestRefused(msg, type="rate_limited", code=code, retry_after=_ASK_AGAIN)
        return None


class Admitted:
    """One request that was let in."""

    def __init__(
        self, admission: Admission, address: str, *, is_counted: bool, has_key: bool = False
    ) -> None:
        self._admission = admission
        self._address = address
        self._is_counted = is_counted
        self._is_unknown = is_counted and not has_key
        #: Whether it has shown that it may come.
        self.is_proved = False
        if is_counted:
            admission.count += 1
        if self._is_unknown:
            admission.unknown[address] += 1

    def known(self) -> None:
        """It has shown that it may come: its address' share is free again."""
        self.is_proved = True
        self._free_share()

    def _free_share(self) -> None:
        if self._is_unknown:
            self._is_unknown = False
            unknown = self._admission.unknown
            unknown[self._address] -= 1
            if not unknown[self._address]:
                del unknown[self._address]

    def leave(self) -> None:
        """It was answered."""
        self._free_share()
        if self._is_counted:
            self._admission.count -= 1

    async def in_turn(self, look_up: Callable[[], Awaitable[T]]) -> T:
        """The result of looking a key or token up, when it is the address' turn.

        So wrong ones never hold more than a few of the database's connections, and a right one
        from the same address, be it behind the same NAT, only waits for its turn.
        """
        async with self._admission.look_ups(self._address):
            return await look_up()

    async def proved(self, look_up: Callable[[], Awaitable[T]]) -> T:
        """The result of looking a key or token up, which shows that the request may come.

        Raises:
            RequestRefused: the look-up's, or rate_limited if the address was wrong too often.
        """
        try:
            result = await look_up()
        except RequestRefused as refusal:
            if wait := self._admission.invalid_keys.count(self._address):
                raise _wrong_too_often(wait) from refusal
            raise
        self.known()
        return result


def admitted(request: Request) -> Admitted:
    """What this request was let in as."""
    let_in: Admitted = request.scope["state"][_STATE]
    return let_in


def was_proved(scope: Mapping[str, Any]) -> bool:
    """Whether a request has shown that it may come."""
    let_in: Admitted | None = scope.get("state", {}).get(_STATE)
    return let_in is not None and let_in.is_proved


class Gatekeeper:
    """ASGI middleware: lets requests in, as far as the budgets go."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        client = scope.get("client")
        proxies = self._admission.proxies
        host = client[0] if client else ""
        address = client_address(host, scope["headers"], proxies=proxies).budget
        is_counted = scope["path"] not in ALWAYS
        has_key = is_counted and _has_key(scope)
        refusal = self._admission.refusal(address, has_key=has_key) if is_counted else None
        if refusal is not None:
            answer = error_answer(refusal, scope, headers={"Connection": "close"})
            await answer(scope, receive, send)
            return
        let_in = Admitted(self._admission, address, is_counted=is_counted, has_key=has_key)
        scope.setdefault("state", {})[_STATE] = let_in
        try:
            await self.app(scope, receive, send)
        finally:
            let_in.leave()


def _has_key(scope: Scope) -> bool:
    """Whether a request has a key that was right when this process last looked it up."""
    keyring = scope["app"].state.front.keyring
    return any(
        keyring.has_seen(value.decode("latin-1"))
        for name, value in scope["headers"]
        if name in _KEYS
    )


def _wrong_too_often(wait: float) -> RequestRefused:
    msg = (
        "too many invalid keys or tokens came from your address; check yours, and try again after "
        "the seconds of Retry-After (a valid one is taken at any time)"
    )
    return RequestRefused(msg, type="rate_limited", code="too_many_invalid_keys", retry_after=wait)
