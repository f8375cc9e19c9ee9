"""Misfortunes of minutes: what an operator changes in mid-run, vendors that stumble for a while.

Each is a generator that yields the seconds to its next step. The storm's thread takes the steps,
and strikes in between.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from signal import SIGTERM

from providers.registry import PROVIDERS
from tests.faults.harness.post import Post
from tests.faults.harness.processes import Process
from tests.faults.harness.stack import FaultStack

#: How often something that is waited for is looked at, in seconds.
LOOK = 0.5
#: How long a process is waited for until it has stopped, and its successor is ready, in seconds.
TO_STOP, TO_BE_READY = 12.0, 6.0
#: Seconds of each: edges that fail, listings that shift, credentials that are away, PostgreSQL
#: that is away.
STUMBLE, SHIFTING, ROBBED, AWAY = 60.0, 90.0, 12.0, 70.0
#: Workers die at a point until some row has been claimed so often in vain, more than an engine may
#: call an accident, or for so many seconds: on a busy machine processes are replaced slowly.
ENOUGH, DYING = 12, 120.0
#: What Celery says of a process of its pool that was killed.
_DEATH = "exited with 'signal 9"
#: The lease of workers that die at once: they spoil many claims in a short time.
SHORT_LEASE = "1"
#: Answers of the provider with the listing that are lost.
UNHEARD = 12
#: Who may stumble or lose credentials: each has its own, and serves its videos by links.
VICTIMS = ("runway", "fal", "replicate", "lunos", "perf")
LISTED = "luma_dream_machine"
KEYS, NEW_KEY = "LONGTAKE_SECRET_KEYS", "a-newer-key-that-only-fault-tests-use-0123456789"

Steps = Iterator[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What a siege works on."""

    stack: FaultStack
    post: Post
    #: What was struck how often, for the table.
    struck: Counter[str]
    #: Providers whose polls and whose downloads fail, and whose credentials are taken away.
    denied: str
    blocked: str
    robbed: str
    #: By crash point: how often the same row was claimed in vain, at most.
    most_tries: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, stack: FaultStack, post: Post, struck: Counter[str], *, seed: int) -> "Field":
        denied, blocked, robbed = random.Random(f"sieges {seed}").sample(VICTIMS, 3)
        return cls(
            stack=stack, post=post, struck=struck, denied=denied, blocked=blocked, robbed=robbed
        )

    @property
    def favoured(self) -> Sequence[str]:
        """Providers that need jobs, so that there is something to strike."""
        return (self.denied, self.blocked, LISTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Siege:
    """One kind."""

    #: How the table counts it.
    words: str
    begin: Callable[[Field], Steps]
    #: About how long it takes, in seconds.
    lasts: float
    #: Whether it leaves our processes alone, so that it may go on beside another.
    is_far: bool = False
    #: Whether PostgreSQL and the broker's messages are left alone meanwhile.
    spares_servers: bool = False
    #: Whether nothing else befalls our processes meanwhile.
    is_alone: bool = False


def edges(field: Field) -> Steps:
    """404 to every poll of one provider, 503 to every download of another."""
    field.stack.simulator.faults(
        [
            {"provider": field.denied, "on": "poll", "do": "status", "status": 404}
            | {"seconds": STUMBLE},
            {"provider": field.blocked, "on": "download", "do": "status", "status": 503}
            | {"seconds": STUMBLE},
        ]
    )
    yield STUMBLE


def listing(field: Field) -> Steps:
    """Answers and callbacks are lost, and rows are deleted between two pages of the listing."""
    provider = {"provider": LISTED}
    field.stack.simulator.faults(
        [
            {**provider, "on": "submit", "do": "drop_after_accept", "times": UNHEARD},
            {**provider, "on": "callback", "do": "drop_before_accept", "seconds": SHIFTING},
            {**provider, "on": "list", "do": "shift", "seconds": SHIFTING},
        ]
    )
    yield SHIFTING


def address(field: Field) -> Steps:
    stack = field.stack
    everybody = [*stack.workers, stack.api]
    stack.tell(everybody, LONGTAKE_PUBLIC_URL=stack.another_public_url)
    yield from _replaced(everybody)


def timeouts(field: Field) -> Steps:
    """Half of the workers go on with the old one."""
    stack = field.stack
    half = stack.workers[: (len(stack.workers) + 1) // 2]
    stack.tell(half, LONGTAKE_SUBMIT_TIMEOUT_SECONDS="15")
    yield from _replaced(half)


def keys(field: Field) -> Steps:
    """A new key behind the old one, then in front: some seal by it before others do."""
    stack = field.stack
    everybody = [*stack.workers, stack.api]
    old = stack.environment[KEYS]
    for order in (f"{old},{NEW_KEY}", f"{NEW_KEY},{old}"):
        stack.tell(everybody, **{KEYS: order})
        yield from _replaced(everybody)


def credentials(field: Field) -> Steps:
    """Every worker loses one provider's, and gets them back."""
    stack = field.stack
    names = [name for way in PROVIDERS[field.robbed].credentials for name in way]
    before = {name: stack.environment.get(name) for name in names}
    stack.tell(stack.workers, **dict.fromkeys(names))
    yield from _replaced(stack.workers)
    yield ROBBED
    stack.tell(stack.workers, **before)
    yield from _replaced(stack.workers)


def claims(field: Field) -> Steps:
    """Every worker dies whenever it has claimed polls, then whenever it has claimed downloads.

    One more has processes for slots: a dead one is replaced at once, where a whole worker takes
    seconds.
    """
    stack = field.stack
    lease = stack.environment["LONGTAKE_LEASE_SECONDS"]
    for point in ("poll.claimed", "store.claimed"):
        stack.tell(stack.workers, LONGTAKE_CRASH_AT=point, LONGTAKE_LEASE_SECONDS=SHORT_LEASE)
        _kill(stack.workers)
        with stack.another_worker(pool="prefork", slots=6) as dying:
            until, tries = time.monotonic() + DYING, 0
            while tries < ENOUGH and time.monotonic() < until:
                tries = max(tries, _most_tries(stack, point))
                yield LOOK
            field.struck[f"deaths of processes at {point}"] += dying.said.count(_DEATH)
        field.most_tries[point] = tries
        stack.tell(stack.workers, LONGTAKE_CRASH_AT=None, LONGTAKE_LEASE_SECONDS=lease)
        _kill(stack.workers)
        yield TO_BE_READY


def _most_tries(stack: FaultStack, point: str) -> int:
    """How often one row has been claimed in vain."""
    kind = point.partition(".")[0]
    (row,) = stack.rows("SELECT coalesce(max(tries), 0) AS n FROM due WHERE what = %s", kind)
    return int(row["n"])


def intake(field: Field) -> Steps:
    """Jobs come as messages before, while and after PostgreSQL is away."""
    stack, post = field.stack, field.post
    for _ in range(5):
        post.send()
        yield LOOK
    stack.stop_database()
    try:
        until = time.monotonic() + AWAY
        while time.monotonic() < until:
            post.send()
            yield 2.0
    finally:
        stack.start_database()
    for _ in range(5):
        post.send()
        yield LOOK


#: In the order in which they come; those that are far away have a line of their own.
SIEGES: Mapping[str, Siege] = {
    "edges": Siege(
        words="404 to each poll of one provider and 503 to each download of another for a minute",
        begin=edges,
        lasts=STUMBLE,
        is_far=True,
    ),
    "listing": Siege(
        words="a listing that shifts between its pages, its answers lost",
        begin=listing,
        lasts=SHIFTING,
        is_far=True,
    ),
    "address": Siege(words="a change of the public address", begin=address, lasts=20),
    "timeouts": Siege(
        words="a change of half the workers' submit time-out", begin=timeouts, lasts=10
    ),
    "keys": Siege(words="a rotation of the secret keys", begin=keys, lasts=20),
    "credentials": Siege(
        words="a provider's credentials taken away and given back",
        begin=credentials,
        lasts=30 + ROBBED,
    ),
    "claims": Siege(
        words="workers that die after each claim", begin=claims, lasts=250, is_alone=True
    ),
    "intake": Siege(
        words="70 s without PostgreSQL while jobs come as messages",
        begin=intake,
        lasts=AWAY + 10,
        spares_servers=True,
    ),
}
#: Not a siege but wishes, and chosen beside them: videos that are sent for three minutes.
DRIPS = "drips"


def chosen(text: str) -> tuple[str, ...]:
    """The names that an option lists: all, none, or some with commas.

    Raises:
        ValueError: one of them is not known.
    """
    known = (*SIEGES, DRIPS)
    if text in {"all", "none"}:
        return known if text == "all" else ()
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"sieges: {unknown[0]!r} is not one of all, none, {', '.join(known)}")
    return names


def seconds_of(names: Sequence[str]) -> float:
    """About how long they take altogether."""
    sieges = [SIEGES[name] for name in names if name in SIEGES]
    lines = [sum(one.lasts for one in sieges if one.is_far is far) for far in (True, False)]
    return max(lines)


def _replaced(processes: Sequence[Process]) -> Steps:
    """One after the other is asked to stop; the storm starts its successor."""
    for process in processes:
        before, until = process.starts, time.monotonic() + TO_STOP
        process.send(SIGTERM)
        while process.starts == before:
            yield LOOK
            if time.monotonic() > until and process.starts == before:
                process.kill()
        until = time.monotonic() + TO_BE_READY
        while not process.is_ready and time.monotonic() < until:
            yield LOOK


def _kill(processes: Sequence[Process]) -> None:
    for process in processes:
        process.kill()
