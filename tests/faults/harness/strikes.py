"""What befalls a stack, and when: a schedule that a seed decides, carried out by a thread."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from kombu.exceptions import OperationalError

from tasks.crash import POINTS
from tests.faults.harness.brokers import repeat_hints
from tests.faults.harness.post import Post
from tests.faults.harness.processes import Process
from tests.faults.harness.receiver import Mood, Receiver
from tests.faults.harness.sieges import SIEGES, Field, Siege, Steps
from tests.faults.harness.stack import FaultStack

#: Seconds between the beginnings of two strikes, shortest and longest.
EVERY = (2.0, 5.0)
#: How long the sieges that have begun may take after the last short strike, in seconds.
TO_END = 600.0
#: How often the dead are looked for, in seconds.
WATCH = 0.5
#: Providers that are out of credits at once, for a few submits each.
EMPTIED = 6
#: How long it may take until some operation is watched, in seconds: there may be none.
TO_BE_WATCHED = 3.0
_IS_WATCHED = "SELECT EXISTS (SELECT FROM due JOIN holder ON holder.id = due.lease)"
#: How long a worker may take to stop when it is asked to, in seconds: a POST has five.
STOP_BOUND = 30.0


class Blow(StrEnum):
    """One kind of misfortune."""

    KILL_WORKER = "kill -9 of a worker"
    CRASH_WORKER = "kill -9 of a worker at a named point"
    PAUSE_WORKER = "SIGSTOP of a worker past its lease"
    KILL_WATCHERS = "kill -9 of every worker while operations are watched"
    FREEZE_WATCHERS = "SIGSTOP of every worker past its heartbeat"
    KILL_BEAT = "kill -9 of a beat"
    KILL_API = "kill -9 of the API"
    STOP_WORKER = "SIGTERM of a worker"
    FLUSH_BROKER = "flush of the broker"
    KILL_BROKER = "kill -9 of the broker"
    PAUSE_BROKER = "SIGSTOP of the broker"
    REPEAT_HINTS = "every hint twice, in any order"
    STOP_DATABASE = "restart of PostgreSQL"
    KILL_DATABASE = "kill -9 of PostgreSQL"
    PAUSE_DATABASE = "SIGSTOP of PostgreSQL"
    SULK_RECEIVER = "a receiver that is slow, failing, mute or dead"
    LIMIT_PROVIDER = "a burst of 429 from a provider"
    EMPTY_PROVIDERS = "providers that are out of credits"


#: How often each kind comes, and how long it lasts, in seconds, shortest and longest.
_WEIGHTS: Mapping[Blow, tuple[int, float, float]] = {
    Blow.KILL_WORKER: (5, 0.0, 1.0),
    Blow.CRASH_WORKER: (6, 0.0, 0.5),
    Blow.PAUSE_WORKER: (3, 6.0, 8.0),
    Blow.KILL_WATCHERS: (1, 0.0, 1.0),
    Blow.FREEZE_WATCHERS: (1, 4.5, 6.0),
    Blow.KILL_BEAT: (1, 0.0, 1.0),
    Blow.KILL_API: (2, 0.0, 1.0),
    Blow.STOP_WORKER: (2, 0.0, 1.0),
    Blow.FLUSH_BROKER: (2, 0.0, 0.0),
    Blow.KILL_BROKER: (1, 0.5, 2.0),
    Blow.PAUSE_BROKER: (1, 1.0, 3.0),
    Blow.REPEAT_HINTS: (2, 0.0, 0.0),
    Blow.STOP_DATABASE: (1, 0.5, 2.0),
    Blow.KILL_DATABASE: (1, 0.0, 1.0),
    Blow.PAUSE_DATABASE: (1, 1.0, 3.0),
    Blow.SULK_RECEIVER: (4, 2.0, 4.0),
    Blow.LIMIT_PROVIDER: (2, 0.0, 0.0),
    Blow.EMPTY_PROVIDERS: (3, 0.0, 0.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One misfortune of the schedule."""

    blow: Blow
    #: Seconds to the next one's beginning, at the earliest.
    then: float
    lasts: float
    #: Decides among those whom it may hit, and how.
    lot: int


def schedule(seed: int) -> Iterator[Strike]:
    """Strikes without end, the same for the same seed."""
    dice = random.Random(f"strikes {seed}")
    blows = list(_WEIGHTS)
    # Each once in the beginning, so that even a short run has met them all.
    first = dice.sample(blows, len(blows))
    while True:
        blow = first.pop() if first else dice.choices(blows, [w for w, *_ in _WEIGHTS.values()])[0]
        _, shortest, longest = _WEIGHTS[blow]
        yield Strike(
            blow=blow,
            then=dice.uniform(*EVERY),
            lasts=dice.uniform(shortest, longest),
            lot=dice.randrange(2**16),
        )


#: What is not done to servers that a siege needs as they are, nor to a broker that holds jobs.
_OF_DATABASE = frozenset({Blow.STOP_DATABASE, Blow.KILL_DATABASE, Blow.PAUSE_DATABASE})
_FORGETFUL = frozenset({Blow.FLUSH_BROKER, Blow.KILL_BROKER})


class _Line:
    """Sieges one after the other, each taken step by step."""

    def __init__(self, sieges: Sequence[Siege]) -> None:
        self._waiting = list(sieges)
        self.present: Siege | None = None
        self._steps: Steps = iter(())
        self._next_at = 0.0

    @property
    def is_over(self) -> bool:
        return self.present is None and not self._waiting

    def advance(self, field: Field) -> None:
        """The next step, if it is time for it."""
        if self.is_over or time.monotonic() < self._next_at:
            return
        if self.present is None:
            self.present = self._waiting.pop(0)
            self._steps = self.present.begin(field)
            field.struck[self.present.words] += 1
        wait = next(self._steps, None)
        if wait is None:
            self.present = None
        else:
            self._next_at = time.monotonic() + wait

    def abandon(self) -> None:
        """Heal what the present one has begun, and begin no other."""
        self._waiting.clear()
        self.present, steps, self._steps = None, self._steps, iter(())
        if isinstance(steps, Generator):
            steps.close()


class Storm:
    """Carries out a schedule on a thread of its own until it is told to end, and all sieges."""

    def __init__(
        self,
        stack: FaultStack,
        receivers: list[Receiver],
        *,
        seed: int,
        post: Post,
        sieges: Sequence[str] = (),
    ) -> None:
        self.struck: Counter[str] = Counter()
        self.field = Field.of(stack, post, self.struck, seed=seed)
        besieged = [siege for name, siege in SIEGES.items() if name in sieges]
        self._lines = [
            _Line([one for one in besieged if one.is_far is is_far]) for is_far in (True, False)
        ]
        self._post = post
        self._stack = stack
        self.receivers = receivers
        self._seed = seed
        self._ways = self._all_ways()
        self._over = threading.Event()
        self._hurries = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="storm")

    def begin(self) -> None:
        self._thread.start()

    def end(self, *, in_haste: bool = False) -> None:
        """No more strikes once the sieges are over; raises what went wrong in them. All is healed.

        In haste they are abandoned.
        """
        self._hurries = in_haste
        self._over.set()
        self._thread.join(TO_END)
        assert not self._thread.is_alive(), f"the storm has not ended within {TO_END} s"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for strike in schedule(self._seed):
                if self._over.is_set():
                    break
                self._strike(strike)
                self._pass(strike.then)
            while not self._hurries and not all(line.is_over for line in self._lines):
                self._look_after()
                time.sleep(WATCH)
            self._stack.revive()
        except BaseException as error:  # noqa: BLE001 - raised again by `end`, in the test's thread
            self._error = error
        finally:
            for line in self._lines:
                line.abandon()

    def _pass(self, seconds: float) -> None:
        """Let time go by, in which the dead are started again."""
        for _ in range(max(1, round(seconds / WATCH))):
            self._look_after()
            if self._over.wait(min(seconds, WATCH)):
                return

    def _look_after(self) -> None:
        self._stack.revive()
        for line in self._lines:
            line.advance(self.field)

    def _strike(self, strike: Strike) -> None:
        present = [line.present for line in self._lines if line.present]
        if any(siege.is_alone for siege in present):
            return
        spares = any(siege.spares_servers for siege in present)
        if spares and strike.blow in _OF_DATABASE | _FORGETFUL:
            return
        if strike.blow not in _FORGETFUL:
            self._deal(strike)
            return
        with self._post.lock:  # a job that a broker took and forgot would be nobody's fault
            if self._post.is_delivered():
                self._deal(strike)

    def _deal(self, strike: Strike) -> None:
        self.struck[strike.blow] += 1
        self._ways[strike.blow](strike)

    def _all_ways(self) -> Mapping[Blow, Callable[[Strike], None]]:
        """How each kind of blow is dealt."""
        stack, during = self._stack, self._during

        def worker(strike: Strike) -> Process:
            return _chosen(stack.workers, strike)

        return {
            Blow.KILL_WORKER: lambda s: self._kill(worker(s), s),
            Blow.CRASH_WORKER: lambda s: self._kill(
                worker(s), s, LONGTAKE_CRASH_AT=POINTS[s.lot % len(POINTS)]
            ),
            Blow.PAUSE_WORKER: lambda s: during(s, worker(s).freeze, worker(s).thaw),
            Blow.KILL_WATCHERS: self._kill_watchers,
            Blow.FREEZE_WATCHERS: lambda s: during(s, self._freeze_all, self._thaw_all),
            Blow.KILL_BEAT: lambda s: self._kill(_chosen(stack.beats, s), s),
            Blow.KILL_API: lambda s: self._kill(stack.api, s),
            Blow.STOP_WORKER: lambda s: self._stop(worker(s)),
            Blow.FLUSH_BROKER: lambda _: stack.broker.flush(),
            Blow.KILL_BROKER: lambda s: during(s, stack.broker.die, stack.broker.revive),
            Blow.PAUSE_BROKER: lambda s: during(s, stack.broker.freeze, stack.broker.thaw),
            Blow.REPEAT_HINTS: self._repeat,
            Blow.STOP_DATABASE: lambda s: during(s, stack.stop_database, stack.start_database),
            Blow.KILL_DATABASE: lambda s: during(s, stack.kill_database, stack.start_database),
            Blow.PAUSE_DATABASE: lambda s: during(s, stack.freeze_database, stack.thaw_database),
            Blow.SULK_RECEIVER: self._sulk,
            Blow.LIMIT_PROVIDER: self._limit,
            Blow.EMPTY_PROVIDERS: self._empty,
        }

    def _kill(self, process: Process, strike: Strike, **more: str) -> None:
        """Its successor is started with `more` variables."""
        process.kill()
        self._over.wait(strike.lasts)
        process.start(**more)

    def _kill_watchers(self, strike: Strike) -> None:
        """All die at once, so whoever watched an operation is among them."""
        self._stack.until(_IS_WATCHED, within=TO_BE_WATCHED)
        for worker in self._stack.workers:
            worker.kill()
        self._over.wait(strike.lasts)
        for worker in self._stack.workers:
            worker.start()

    def _freeze_all(self) -> None:
        for worker in self._stack.workers:
            worker.freeze()

    def _thaw_all(self) -> None:
        for worker in self._stack.workers:
            worker.thaw()

    def _stop(self, worker: Process) -> None:
        if worker.lives and not worker.stop(within=STOP_BOUND):
            self.struck["(SIGTERM that ended in a kill)"] += 1

    def _during(self, strike: Strike, begin: Callable[[], None], end: Callable[[], None]) -> None:
        begin()
        try:
            self._over.wait(strike.lasts)
        finally:
            end()

    def _repeat(self, strike: Strike) -> None:
        with suppress(OperationalError):  # a broker that was just struck breaks off
            repeat_hints(self._stack.broker, self._stack.providers, dice=random.Random(strike.lot))

    def _sulk(self, strike: Strike) -> None:
        moods = [mood for mood in Mood if mood is not Mood.WELL]
        receiver = self.receivers[-1]
        self._during(
            strike,
            lambda: receiver.feel(moods[strike.lot % len(moods)]),
            lambda: receiver.feel(Mood.WELL),
        )

    def _limit(self, strike: Strike) -> None:
        providers = self._stack.providers
        provider = providers[strike.lot % len(providers)]
        limits = {"do": "status", "status": 429, "retry_after": 1, "times": 5}
        self._stack.simulator.faults(
            [{"provider": provider, "on": step, **limits} for step in ("submit", "poll")]
        )

    def _empty(self, strike: Strike) -> None:
        emptied = random.Random(strike.lot).sample(self._stack.providers, EMPTIED)
        refusal = {"on": "submit", "do": "status", "status": 402, "times": 3}
        self._stack.simulator.faults([{"provider": each, **refusal} for each in emptied])


def _chosen(processes: list[Process], strike: Strike) -> Process:
    return processes[strike.lot % len(processes)]
