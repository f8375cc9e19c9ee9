"""Fault injection: which requests fail, how, and how often."""

import math
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from simulator.checks import is_number, is_whole


class Step(StrEnum):
    """The kind of request, within a job's exchange with a vendor."""

    SUBMIT = "submit"
    POLL = "poll"
    CANCEL = "cancel"
    DOWNLOAD = "download"
    #: A page of a vendor's listing.
    LIST = "list"
    #: The vendor's own POST to its client's address.
    CALLBACK = "callback"


class Do(StrEnum):
    """What happens to a request with a fault."""

    #: Refused with `status` in the vendor's error format; not accepted.
    STATUS = "status"
    #: Accepted (and billed), then the connection closes without a response.
    DROP_AFTER_ACCEPT = "drop_after_accept"
    #: Read, then the connection closes without a response; not accepted.
    DROP_BEFORE_ACCEPT = "drop_before_accept"
    #: Accepted (and billed), then never answered.
    HANG = "hang"
    #: Accepted (and billed), then answered with 200 and bytes that are not JSON.
    GARBAGE = "garbage"
    #: Of a submit: accepted (and billed), and its operation fails halfway, as by `[sim:fail]`.
    FAIL = "fail"
    #: Of a listing: rows of the pages before are deleted, then it is answered.
    SHIFT = "shift"


class BadFault(ValueError):
    """Invalid faults or chaos; the message names the field and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One instruction of `POST /_sim/faults`."""

    provider: str
    on: Step
    do: Do
    status: int | None = None
    #: The Retry-After header: seconds, or an HTTP date sent unchanged.
    retry_after: float | str | None = None
    times: int = 1
    #: Applies to every request for this many seconds after it is installed, instead of `times`.
    seconds: float | None = None
    #: Applies only to operations whose prompt contains this text.
    match_prompt: str | None = None


class Faults:
    """The pending faults, in order of installation."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending: list[Fault] = []
        self._left: list[int] = []
        #: When each ends, on our clock.
        self._until: list[float] = []

    @property
    def armed(self) -> bool:
        self._forget_the_past()
        return bool(self._pending)

    def install(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self._pending.append(fault)
            self._left.append(fault.times)
            self._until.append(math.inf if fault.seconds is None else self._clock() + fault.seconds)

    def clear(self) -> None:
        self._pending.clear()
        self._left.clear()
        self._until.clear()

    def pending(self) -> list[tuple[Fault, int]]:
        """Each fault and its remaining uses, for those that count them."""
        self._forget_the_past()
        return list(zip(self._pending, self._left, strict=True))

    def need_prompt(self, provider: str, on: Step) -> bool:
        return any(f.match_prompt and (f.provider, f.on) == (provider, on) for f in self._pending)

    def take(self, provider: str, on: Step, *, prompt: str) -> Fault | None:
        """The first fault that applies to this request; uses it up once if it counts."""
        self._forget_the_past()
        for index, fault in enumerate(self._pending):
            if (fault.provider, fault.on) != (provider, on):
                continue
            if fault.match_prompt is not None and fault.match_prompt not in prompt:
                continue
            if fault.seconds is None:
                self._left[index] -= 1
            if self._left[index] == 0:
                self._drop(index)
            return fault
        return None

    def _forget_the_past(self) -> None:
        now = self._clock()
        for index in reversed(range(len(self._pending))):
            if self._until[index] <= now:
                self._drop(index)

    def _drop(self, index: int) -> None:
        del self._pending[index], self._left[index], self._until[index]


@dataclass(slots=True, kw_only=True)
class Chaos:
    """Random faults: the same seed affects the same requests of a sequence."""

    seed: int
    rate: float
    do: Sequence[Do]
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def strike(self, provider: str, on: Step) -> Fault | None:
        if self._dice.random() >= self.rate:
            return None
        do = self._dice.choice(self.do)
        if do is not Do.STATUS:
            return Fault(provider=provider, on=on, do=do)
        status = self._dice.choice((429, 500, 502, 503))
        retry_after = 1 if status in (429, 503) else None
        return Fault(provider=provider, on=on, do=do, status=status, retry_after=retry_after)


_FAULT_KEYS: Final = frozenset(
    ("provider", "on", "do", "status", "retry_after", "times", "seconds", "match_prompt")
)
_ERROR_STATUSES: Final = range(400, 600)
_CHAOS_KEYS: Final = frozenset(("seed", "rate", "do"))


def parse_faults(raw: object, *, providers: Collection[str]) -> list[Fault]:
    """Parse the body of `POST /_sim/faults`; raises BadFault if any entry is invalid."""
    if not isinstance(raw, list):
        raise BadFault("the body must be a list of faults")
    return [_fault(each, f"[{index}]", providers) for index, each in enumerate(raw)]


def parse_chaos(raw: object) -> Chaos:
    """Parse the body of `POST /_sim/chaos`."""
    body = _object(raw, "the body", _CHAOS_KEYS)
    rate = body.get("rate")
    if not is_number(rate) or not 0 <= rate <= 1:
        raise BadFault(f"rate: {rate!r} is not a number from 0 to 1")
    do = body.get("do")
    if not isinstance(do, list) or not do:
        raise BadFault(f"do: {do!r} is not a list of one or more of {', '.join(Do)}")
    kinds = [Do(_choice({"do": each}, "do", Do, "")) for each in do]
    return Chaos(seed=_whole(body, "seed", "", default=None), rate=rate, do=kinds)


def _fault(raw: object, where: str, providers: Collection[str]) -> Fault:
    body = _object(raw, where, _FAULT_KEYS)
    do = Do(_choice(body, "do", Do, where))
    on = Step(_choice(body, "on", Step, where))
    if do is Do.SHIFT and on is not Step.LIST:
        raise BadFault(f"{where}.do: 'shift' only goes with on 'list', not {on.value!r}")
    if do is Do.FAIL and on is not Step.SUBMIT:
        raise BadFault(f"{where}.do: 'fail' only goes with on 'submit', not {on.value!r}")
    if on is Step.CALLBACK and do is not Do.DROP_BEFORE_ACCEPT:
        raise BadFault(f"{where}.do: on 'callback' only goes with do 'drop_before_accept'")
    times = _whole(body, "times", where, default=1)
    if times < 1:
        raise BadFault(f"{where}.times: {times} is not 1 or more")
    return Fault(
        provider=_choice(body, "provider", providers, where),
        on=on,
        do=do,
        status=_status(body, where, do),
        retry_after=_retry_after(body, where, do),
        times=times,
        seconds=_seconds(body, where),
        match_prompt=_text(body, "match_prompt", where),
    )


def _status(body: Mapping[str, object], where: str, do: Do) -> int | None:
    if do is not Do.STATUS:
        if body.get("status") is not None:
            raise BadFault(f"{where}.status: only allowed with do 'status', not {do.value!r}")
        return None
    status = _whole(body, "status", where, default=None)
    if status not in _ERROR_STATUSES:
        raise BadFault(f"{where}.status: {status} is not from 400 to 599")
    return status


def _seconds(body: Mapping[str, object], where: str) -> float | None:
    value = body.get("seconds")
    if value is None:
        return None
    if "times" in body:
        raise BadFault(f"{where}.seconds: does not go with times; give one of them")
    if not is_number(value) or not value > 0:
        raise BadFault(f"{where}.seconds: {value!r} is not a number above 0")
    return value


def _retry_after(body: Mapping[str, object], where: str, do: Do) -> float | str | None:
    value = body.get("retry_after")
    if value is not None and do is not Do.STATUS:
        raise BadFault(f"{where}.retry_after: only allowed with do 'status', not {do.value!r}")
    if value is None or isinstance(value, str):
        return value
    if not is_number(value) or value < 0:
        raise BadFault(f"{where}.retry_after: {value!r} is not seconds or an HTTP date")
    return value


def _object(raw: object, where: str, keys: Collection[str]) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        raise BadFault(f"{where}: {raw!r} is not an object")
    if unknown := sorted(set(raw) - set(keys)):
        raise BadFault(
            f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(keys))}"
        )
    return raw


def _choice(body: Mapping[str, object], key: str, allowed: Iterable[str], where: str) -> str:
    value = body.get(key)
    names = [str(name) for name in allowed]
    if not isinstance(value, str) or value not in names:
        raise BadFault(f"{where}.{key}: {value!r} is not one of {', '.join(names)}".lstrip("."))
    return value


def _whole(body: Mapping[str, object], key: str, where: str, *, default: int | None) -> int:
    value = body.get(key, default)
    if not is_whole(value):
        raise BadFault(f"{where}.{key}: {value!r} is not a whole number".lstrip("."))
    return value


def _text(body: Mapping[str, object], key: str, where: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise BadFault(f"{where}.{key}: {value!r} is not text")
    return value
