"""The operation store: what every accepted request is doing, as a function of time alone."""

import hashlib
import heapq
import itertools
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from simulator.video import Clip


class Phase(StrEnum):
    """What an operation is doing; each vendor has its own word for each."""

    #: Accepted, but held back until the vendor's concurrency limit leaves room.
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    #: Running, and called by a word that no vendor has documented.
    UNDOCUMENTED = "undocumented"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


#: The word that vendors say in `Phase.UNDOCUMENTED`.
UNDOCUMENTED_WORD = "REHEARSING"


class Script(StrEnum):
    """What a prompt asks of its own operation by beginning with one or more `[sim:…]`."""

    #: Fails halfway, for a reason that another try could cure.
    FAIL = "fail"
    #: Fails halfway, refused by content moderation.
    MODERATE = "moderate"
    #: Takes ten times as long.
    SLOW = "slow"
    #: Runs and never ends.
    NEVER = "never"
    #: Reports an undocumented status word in the first half of its run.
    UNKNOWN_STATUS = "unknown-status"
    #: Its result links are dead until one of them has been tried.
    EXPIRED = "expired"


class UnknownScript(ValueError):
    """A prompt begins with a `[sim:…]` that means nothing: a typing error in somebody's test."""


_DIRECTIVES = re.compile(r"(?:\[sim:[^\]]*\]\s*)+")
_DIRECTIVE = re.compile(r"\[sim:([^\]]*)\]")


def scripts_in(prompt: str) -> frozenset[Script]:
    """The scripts that the prompt begins with."""
    opening = _DIRECTIVES.match(prompt)
    words = _DIRECTIVE.findall(opening.group()) if opening else []
    return frozenset(map(_script, words))


def _script(word: str) -> Script:
    try:
        return Script(word)
    except ValueError as error:
        raise UnknownScript(f"[sim:{word}] is not one of {', '.join(Script)}") from error


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an operation waits and runs, in seconds of the store's clock."""

    queue: float
    run: float


#: Seconds that a vendor takes at speed 1, shortest and longest.
QUEUE_SECONDS = (4.0, 20.0)
RUN_SECONDS = (20.0, 60.0)

#: The part of its run in which `Script.UNKNOWN_STATUS` is heard.
_MUMBLES_UNTIL = 0.5


def pace_of(fingerprint: bytes, scripts: frozenset[Script], *, speed: float) -> Pace:
    """The pace of an operation: the same for the same fingerprint, `speed` times a vendor's."""
    scale = (10.0 if Script.SLOW in scripts else 1.0) / speed
    queue = _between(QUEUE_SECONDS, fingerprint[4:6]) * scale
    run = _between(RUN_SECONDS, fingerprint[6:8]) * scale
    if Script.NEVER in scripts:
        run = math.inf
    elif scripts & {Script.FAIL, Script.MODERATE}:
        run /= 2
    return Pace(queue, run)


def _between(bounds: tuple[float, float], digits: bytes) -> float:
    low, high = bounds
    return low + (high - low) * int.from_bytes(digits) / 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a vendor has agreed to make."""

    provider: str
    operation_id: str
    model: str
    prompt: str
    clip: Clip
    #: As asked; None lets the prompt alone decide the video.
    seed: int | None = None
    #: Orders of one lane share `limit` places; those beyond it are held. None: no limit.
    lane: str
    limit: int | None = None
    #: In the vendor's own unit, such as Runway's credits.
    price: int = 0
    #: The request as accepted, for vendors that echo parts of it.
    body: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Operation:
    """One accepted order and the little that can happen to it from outside."""

    order: Order
    fingerprint: bytes
    scripts: frozenset[Script]
    pace: Pace
    created_at: datetime
    #: When it got its place in the vendor's queue, on the store's clock; None while held.
    admitted_at: float | None = None
    cancelled_in: Phase | None = None
    deleted: bool = False
    polls: int = 0
    #: Under `Script.EXPIRED`: links issued up to then (Unix seconds) are dead. None: all are.
    links_dead_until: float | None = None

    @property
    def id(self) -> str:
        return self.order.operation_id

    @property
    def finishes_at(self) -> float:
        if self.admitted_at is None:
            return math.inf
        return self.admitted_at + self.pace.queue + self.pace.run

    def phase(self, now: float) -> Phase:
        if self.cancelled_in is not None:
            return Phase.CANCELLED
        if self.admitted_at is None:
            return Phase.HELD
        if now < self.admitted_at + self.pace.queue:
            return Phase.QUEUED
        if now < self.finishes_at:
            mumbles = Script.UNKNOWN_STATUS in self.scripts and self.progress(now) < _MUMBLES_UNTIL
            return Phase.UNDOCUMENTED if mumbles else Phase.RUNNING
        return Phase.FAILED if self.scripts & {Script.FAIL, Script.MODERATE} else Phase.SUCCEEDED

    def next_change(self, now: float) -> float:
        """When its phase changes next, on the store's clock: `now` if nobody can tell yet."""
        if self.admitted_at is None:
            return now
        begins = self.admitted_at + self.pace.queue
        speaks_up = begins + self.pace.run * _MUMBLES_UNTIL
        is_vague = Script.UNKNOWN_STATUS in self.scripts
        changes = (begins, speaks_up if is_vague else begins, self.finishes_at)
        return next((at for at in changes if at > now), math.inf)

    def progress(self, now: float) -> float:
        """The part of the run that is done, 0 to 1."""
        if self.admitted_at is None:
            return 0.0
        return min(1.0, max(0.0, (now - self.admitted_at - self.pace.queue) / self.pace.run))


class Lane:
    """The places at a vendor that operations wait for in order of arrival.

    Nobody wakes it up: `advance` replays what has happened since, each admission at the moment when
    the place became free, so that the outcome does not depend on how often anybody asks.
    """

    __slots__ = ("_held", "_limit", "_running", "_serial")

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._running: list[tuple[float, int, Operation]] = []
        self._held: deque[Operation] = deque()
        self._serial = itertools.count()

    def enter(self, operation: Operation, now: float) -> None:
        self.advance(now)
        if self._limit is None or len(self._running) < self._limit:
            self._admit(operation, now)
        else:
            self._held.append(operation)

    def advance(self, now: float) -> None:
        while self._running and self._running[0][0] <= now:
            freed_at, _, _ = heapq.heappop(self._running)
            if self._held:
                self._admit(self._held.popleft(), freed_at)

    def leave(self, operation: Operation, now: float) -> None:
        """Give up the place of a cancelled operation."""
        self.advance(now)
        if operation in self._held:
            self._held.remove(operation)
            return
        self._running = [entry for entry in self._running if entry[2] is not operation]
        heapq.heapify(self._running)
        if self._held:
            self._admit(self._held.popleft(), now)

    def occupied(self, now: float) -> int:
        self.advance(now)
        return len(self._running)

    def _admit(self, operation: Operation, now: float) -> None:
        operation.admitted_at = now
        heapq.heappush(self._running, (operation.finishes_at, next(self._serial), operation))


class Operations:
    """Every operation since the last reset, found by provider and id."""

    def __init__(self, *, clock: Callable[[], float], speed: float, seed: int) -> None:
        self._clock = clock
        self._speed = speed
        self._seed = seed
        self._operations: dict[tuple[str, str], Operation] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}

    def now(self) -> float:
        return self._clock()

    def accept(self, order: Order) -> Operation:
        """Start an operation. Raises UnknownScript for a prompt with a script unheard of."""
        scripts = scripts_in(order.prompt)
        fingerprint = _fingerprint(self._seed, order)
        pace = pace_of(fingerprint, scripts, speed=self._speed)
        operation = Operation(order, fingerprint, scripts, pace, created_at=datetime.now(UTC))
        self._lane(order.provider, order.lane, limit=order.limit).enter(operation, self.now())
        self._operations[order.provider, order.operation_id] = operation
        return operation

    def poll(self, provider: str, operation_id: str) -> Operation | None:
        """The operation as a poll sees it, and counted as one; None if unknown or deleted."""
        operation = self.find(provider, operation_id)
        if operation is not None:
            operation.polls += 1
        return operation

    def find(self, provider: str, operation_id: str) -> Operation | None:
        operation = self._operations.get((provider, operation_id))
        if operation is None or operation.deleted:
            return None
        self._lane(provider, operation.order.lane).advance(self.now())
        return operation

    def cancel(self, operation: Operation) -> None:
        """Stop an unfinished operation, whose place goes to the next; leave a final one alone."""
        now = self.now()
        phase = operation.phase(now)
        if not phase.is_final:
            self._lane(operation.order.provider, operation.order.lane).leave(operation, now)
            operation.cancelled_in = phase

    def occupied(self, provider: str, lane: str) -> int:
        """How many operations of the lane have a place and are not finished."""
        return self._lane(provider, lane).occupied(self.now())

    def reset(self) -> None:
        self._operations.clear()
        self._lanes.clear()

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations.values())

    def _lane(self, provider: str, lane: str, *, limit: int | None = None) -> Lane:
        key = (provider, lane)
        if key not in self._lanes:
            self._lanes[key] = Lane(limit)
        return self._lanes[key]


def _fingerprint(server_seed: int, order: Order) -> bytes:
    """What decides an operation's pace and its video."""
    text = f"{server_seed}\0{order.provider}\0{order.model}\0{order.seed}\0{order.prompt}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
