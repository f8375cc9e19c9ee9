"""The operation store: each accepted operation's state is a function of time."""

import hashlib
import heapq
import itertools
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from simulator.slate import Slate
from simulator.video import Clip


class Phase(StrEnum):
    """An operation's state; each vendor has its own word for it."""

    #: Accepted, but held back by the vendor's concurrency limit.
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    #: Running, reported with an undocumented status word.
    UNDOCUMENTED = "undocumented"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


#: The status word for `Phase.UNDOCUMENTED`.
UNDOCUMENTED_WORD = "REHEARSING"


class Script(StrEnum):
    """A prompt's instruction for its own operation, as one or more leading `[sim:…]`."""

    #: Fails halfway, for a transient reason.
    FAIL = "fail"
    #: Fails halfway, by content moderation.
    MODERATE = "moderate"
    #: Takes ten times as long.
    SLOW = "slow"
    #: Runs and never ends.
    NEVER = "never"
    #: Reports an undocumented status in the first half of its run.
    UNKNOWN_STATUS = "unknown-status"
    #: Its result URLs are dead until one of them has been requested.
    EXPIRED = "expired"
    #: Its video is sent at a trickle, as `Options.drip` says, from a link of the vendor's host.
    DRIP = "drip"


class UnknownScript(ValueError):
    """A prompt starts with an unknown `[sim:…]`, such as a typing error in a test."""


_DIRECTIVES = re.compile(r"(?:\[sim:[^\[\]]*\]\s*)+")
_DIRECTIVE = re.compile(r"\[sim:([^\[\]]*)\]")


def scripts_in(prompt: str) -> frozenset[Script]:
    """The scripts at the start of the prompt."""
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
    """How long an operation is queued and runs, in seconds of the store's clock."""

    queue: float
    run: float


#: Minimum and maximum seconds at speed 1.
QUEUE_SECONDS = (4.0, 20.0)
RUN_SECONDS = (20.0, 60.0)

#: Fraction of the run that `Script.UNKNOWN_STATUS` affects.
_UNDOCUMENTED_UNTIL = 0.5


def pace_of(fingerprint: bytes, scripts: frozenset[Script], *, speed: float) -> Pace:
    """An operation's pace: deterministic for a fingerprint, `speed` times a vendor's."""
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
    """An accepted request."""

    provider: str
    operation_id: str
    model: str
    prompt: str
    clip: Clip
    #: The requested seed; None: the video depends on the prompt alone.
    seed: int | None = None
    #: Orders of one lane share `limit` slots; excess orders are held. None: no limit.
    lane: str
    limit: int | None = None
    #: In the vendor's own unit, such as Runway's credits.
    price: int = 0
    #: The accepted request, for vendors that echo parts of it.
    body: Mapping[str, object] = field(default_factory=dict)

    @property
    def slate(self) -> Slate:
        return Slate(self.prompt, self.model, self.provider, self.seed)


@dataclass(slots=True, eq=False)
class Operation:
    """An accepted order and its mutable state."""

    order: Order
    fingerprint: bytes
    scripts: frozenset[Script]
    pace: Pace
    created_at: datetime
    #: When it left HELD, on the store's clock; None while held.
    admitted_at: float | None = None
    cancelled_in: Phase | None = None
    deleted: bool = False
    polls: int = 0
    #: Whether a fault hid the acceptance from the client.
    is_unheard: bool = False
    #: Under `Script.EXPIRED`: URLs issued until this Unix time are dead. None: all are.
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
            is_undocumented = (
                Script.UNKNOWN_STATUS in self.scripts and self.progress(now) < _UNDOCUMENTED_UNTIL
            )
            return Phase.UNDOCUMENTED if is_undocumented else Phase.RUNNING
        return Phase.FAILED if self.scripts & {Script.FAIL, Script.MODERATE} else Phase.SUCCEEDED

    def next_change(self, now: float) -> float:
        """Time of the next phase change, on the store's clock; `now` if not yet known."""
        if self.admitted_at is None:
            return now
        begins = self.admitted_at + self.pace.queue
        documented_from = begins + self.pace.run * _UNDOCUMENTED_UNTIL
        has_unknown_status = Script.UNKNOWN_STATUS in self.scripts
        changes = (begins, documented_from if has_unknown_status else begins, self.finishes_at)
        return next((at for at in changes if at > now), math.inf)

    def progress(self, now: float) -> float:
        """Fraction of the run completed, 0 to 1."""
        if self.admitted_at is None:
            return 0.0
        return min(1.0, max(0.0, (now - self.admitted_at - self.pace.queue) / self.pace.run))


class Lane:
    """A vendor's slots, which operations wait for in order of arrival.

    There is no timer: `advance` replays admissions at the times when slots became free, so the
    outcome does not depend on how often it is called.
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
        """Free the slot of a cancelled operation."""
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
    """Every operation since the last reset, by provider and id."""

    def __init__(self, *, clock: Callable[[], float], speed: float, seed: int) -> None:
        self._clock = clock
        self._speed = speed
        self._seed = seed
        self._operations: dict[tuple[str, str], Operation] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}

    def now(self) -> float:
        return self._clock()

    def accept(self, order: Order, *, more: AbstractSet[Script] = frozenset()) -> Operation:
        """Start an operation with the scripts of its prompt and `more`.

        Raises UnknownScript for an unknown script in the prompt.
        """
        scripts = scripts_in(order.prompt) | more
        fingerprint = _fingerprint(self._seed, order)
        pace = pace_of(fingerprint, scripts, speed=self._speed)
        operation = Operation(order, fingerprint, scripts, pace, created_at=datetime.now(UTC))
        self._lane(order.provider, order.lane, limit=order.limit).enter(operation, self.now())
        self._operations[order.provider, order.operation_id] = operation
        return operation

    def poll(self, provider: str, operation_id: str) -> Operation | None:
        """The operation, counting this poll; None if unknown or deleted."""
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
        """Cancel an unfinished operation and free its slot; final ones are unchanged."""
        now = self.now()
        phase = operation.phase(now)
        if not phase.is_final:
            self._lane(operation.order.provider, operation.order.lane).leave(operation, now)
            operation.cancelled_in = phase

    def occupied(self, provider: str, lane: str) -> int:
        """The number of unfinished operations with a slot in the lane."""
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
    """The hash that determines an operation's pace and video."""
    text = f"{server_seed}\0{order.provider}\0{order.model}\0{order.seed}\0{order.prompt}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
