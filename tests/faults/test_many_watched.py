"""Thousands of watched operations, while the database fails or a watcher is overloaded or dies."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from stack.servers.server import wait_until
from tasks.pump.pump import POISON_TRIES
from tests.faults.harness.processes import Process
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.watched import Vendor, accepted, watched_stack

pytestmark = pytest.mark.chaos

#: Lease of each worker in seconds; a holder counts as dead after 8.
LEASE = 10.0
#: Seconds that the database is unreachable: longer than a lease, a heartbeat and all retries.
AWAY = 60.0
#: Seconds within which all operations are watched, and within which all have recovered.
TO_BEGIN, TO_RECOVER = 300.0, 300.0
#: Slots of a worker, by pool.
SLOTS = {"threads": 24, "prefork": 6}
#: Seconds within which the deadly operation is found: each death costs a lease and a start.
TO_FIND = 600.0
#: How often an operation may move until the load is balanced: the processes of a pool become
#: watchers one after another.
MOVES = {"threads": 3, "prefork": 12}
#: Typical seconds of an operation, in a range so wide that looks are at the minimum interval.
TYPICAL = 300.0

_WATCHED = """
SELECT count(*) AS n FROM due JOIN holder ON holder.id = due.lease
WHERE due.what = 'poll' AND holder.dead_at IS NULL AND holder.id <> ALL(%s::uuid[])
"""
_HOLDERS = "SELECT DISTINCT lease::text AS id FROM due WHERE what = 'poll' AND lease IS NOT NULL"
_LEASES = "SELECT id, lease::text AS lease FROM due WHERE what = 'poll' AND at > now() + '1 year'"
_LATE = "SELECT coalesce(max(late), 0) > 1 FROM holder WHERE dead_at IS NULL"
_ON_TIME = "SELECT coalesce(max(late), 0) < 0.5 FROM holder WHERE dead_at IS NULL"
_ENDS = "SELECT job, count(*) AS n FROM event WHERE kind = 'failed' GROUP BY job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The operations of a test: the ending ones, with their jobs, and the others."""

    operations: list[str]
    jobs: list[str]
    ending: list[str]
    others: list[str]


def watched(stack: FaultStack, *, but_by: list[str] | None = None) -> int:
    """The number of operations watched by living holders, except those of `but_by`."""
    (row,) = stack.rows(_WATCHED, but_by or [])
    return int(row["n"])


def holders(stack: FaultStack) -> set[str]:
    return {row["id"] for row in stack.rows(_HOLDERS)}


def are_all_asked(vendor: Vendor, operations: list[str], *, within: float) -> bool:
    """Whether each of these operations is polled from now on, within this time."""
    began = time.monotonic()
    count = len(operations)
    return wait_until(lambda: vendor.asked_since(began, operations) == count, within)


def prove_ends(stack: FaultStack, jobs: list[str]) -> None:
    """Assert that exactly these jobs have failed, each once and with one webhook."""
    sql = "SELECT count(*) = %s FROM delivery WHERE state = 'delivered' AND job = ANY(%s)"
    assert stack.until(sql, len(jobs), jobs, within=TO_RECOVER), stack.rows(
        "SELECT state, count(*) FROM job GROUP BY state"
    )
    assert {row["job"]: row["n"] for row in stack.rows(_ENDS)} == dict.fromkeys(jobs, 1)
    assert [len(stack.receiver.of(job)) for job in jobs] == [1] * len(jobs)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_minute_without_the_database_moves_no_operation(how: str) -> None:
    # Given two workers that watch 10,000 operations
    count, ended = 10_000, 300
    with watched_stack(lease=LEASE, floor=20.0, workers=2, LONGTAKE_WATCHED_OPERATIONS="6000") as (
        stack,
        vendor,
    ):
        crowd = begun(stack, count, ended=ended)
        stack.start()
        assert wait_until(lambda: watched(stack) == count, TO_BEGIN), watched(stack)
        assert are_all_asked(vendor, crowd.operations, within=TO_BEGIN)
        assert stack.until(_ON_TIME, within=TO_BEGIN), stack.rows("SELECT * FROM holder")
        before = {row["id"]: row["lease"] for row in stack.rows(_LEASES)}
        assert len(set(before.values())) == 2

        # When the database is away while some of them end
        vendor.forget()
        # In the middle of a round of looks: the next ones do not wait for the database.
        assert wait_until(lambda: len(vendor.asked) > count // 4, TO_BEGIN)
        leave, come_back = {
            "stopped": (stack.stop_database, stack.start_database),
            "frozen": (stack.freeze_database, stack.thaw_database),
        }[how]
        leave()
        vendor.ended.update(crowd.ending)
        began = time.monotonic()
        try:
            assert wait_until(lambda: time.monotonic() - began > AWAY, 2 * AWAY)
            asked = vendor.asked
            told = [one for one in crowd.ending if one in asked and asked[one].was_told]
        finally:
            come_back()

        # Then ends that were seen meanwhile are written once, and all others continue
        assert told, "no end came while the database was away"
        assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
        prove_ends(stack, crowd.jobs)
        # in their process: no holder was declared dead, and none was polled by two
        after = {row["id"]: row["lease"] for row in stack.rows(_LEASES)}
        said = "".join(worker.said for worker in stack.workers)
        words = [line for line in said.splitlines() if '"watch.' in line]
        assert "watch.holder_died" not in said, words
        assert "watch.declared_dead" not in said, words
        assert len(after) == len(crowd.others), words
        assert {id_ for id_ in after if before.get(id_, after[id_]) != after[id_]} == set(), words
        assert {one for one in crowd.others if vendor.asked[one].moves} == set(), words
        assert stack.contradictions() == []


def begun(stack: FaultStack, count: int, *, ended: int = 0) -> Crowd:
    """Operations that are not watched yet, of which `ended` are to end; no worker runs."""
    for worker in stack.workers:
        worker.kill()
    every = count // ended if ended else 0
    all_ = accepted(stack, count, typical=TYPICAL, every=every)
    assert stack.contradictions() == []
    # Spread out, because neighbours are looked at together.
    ends = range(0, count, every) if every else range(0)
    return Crowd(
        operations=all_.operations,
        jobs=[all_.jobs[n] for n in ends],
        ending=[all_.operations[n] for n in ends],
        others=[one for n, one in enumerate(all_.operations) if n not in ends],
    )


@pytest.mark.parametrize("pool", SLOTS)
def test_an_overloaded_worker_hands_operations_to_a_new_one(pool: str) -> None:
    # Given a worker whose vendor answers so slowly that it, with all processes of its pool,
    # can make less than two thirds of the looks that are due
    count, ended, slots = 3000, 50, SLOTS[pool]
    floor, takes = {"threads": (3.0, 0.15), "prefork": (6.0, 1.2)}[pool]
    with watched_stack(lease=LEASE, floor=floor, LONGTAKE_POLL_DELAY_SECONDS="0.5") as (
        stack,
        vendor,
    ):
        crowd = begun(stack, count, ended=ended)
        vendor.takes = takes
        with stack.another_worker(pool=pool, slots=slots, name="first"):
            assert wait_until(lambda: watched(stack) == count, TO_BEGIN), watched(stack)
            assert stack.until(_LATE, within=TO_BEGIN), stack.rows("SELECT * FROM holder")
            before = sorted(holders(stack))

            # When another worker starts, and operations end meanwhile
            vendor.forget()
            with stack.another_worker(pool=pool, slots=slots, name="second") as second:
                vendor.ended.update(crowd.ending)

                # Then it gets its share
                share = count // 4
                is_shared = wait_until(lambda: asked_by(vendor, second, crowd) >= share, TO_RECOVER)
                assert is_shared, stack.rows("SELECT * FROM holder")
                # and nothing is lost, repeated or moved back and forth
                prove_ends(stack, crowd.jobs)
                assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
                assert wait_until(lambda: watched(stack) == len(crowd.others), TO_RECOVER)
                assert watched(stack, but_by=before) >= share
                most = max(vendor.asked[one].moves for one in crowd.others)
                assert most <= MOVES[pool], most
                assert stack.contradictions() == []


def asked_by(vendor: Vendor, worker: Process, crowd: Crowd) -> int:
    """The number of operations last polled by a process of this worker."""
    asked = dict(vendor.asked)
    ours = {pid for pid in list(vendor.polls) if session_of(pid) == worker.pid}
    return sum(one in asked and asked[one].by in ours for one in crowd.operations)


def session_of(pid: int) -> int:
    """The session of a process; 0 if it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def test_processes_of_a_pool_that_are_replaced_hand_back_what_they_watch() -> None:
    # Given a pool whose processes are each replaced after a few tasks
    count, ended = 500, 50
    with watched_stack(lease=LEASE, floor=1.0) as (stack, vendor):
        crowd = begun(stack, count, ended=ended)
        with stack.another_worker(
            pool="prefork", slots=4, more=("--max-tasks-per-child", "8")
        ) as worker:
            assert wait_until(lambda: watched(stack) == count, TO_BEGIN), watched(stack)
            before = sorted(holders(stack))

            # When the watching processes are gone, and operations end meanwhile; their successors
            # are replaced as well, so watchers change all the time
            vendor.ended.update(crowd.ending)
            assert wait_until(lambda: holders(stack).isdisjoint(before), TO_RECOVER), stack.rows(
                "SELECT * FROM holder"
            )

            # Then they have handed everything back, and nothing is lost
            prove_ends(stack, crowd.jobs)
            assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
            assert '"watch.left"' in worker.said
            assert "watch.holder_died" not in worker.said
            assert stack.contradictions() == []


def test_operations_of_a_killed_pool_process_are_watched_by_its_siblings() -> None:
    count, ended = 500, 50
    with watched_stack(lease=LEASE, floor=1.0) as (stack, vendor):
        crowd = begun(stack, count, ended=ended)
        with stack.another_worker(pool="prefork", slots=SLOTS["prefork"]) as worker:
            assert wait_until(lambda: watched(stack) == count, TO_BEGIN), watched(stack)
            assert are_all_asked(vendor, crowd.operations, within=TO_BEGIN)
            before = sorted(holders(stack))

            # When all watching processes are killed, and operations end meanwhile
            watchers = [pid for pid in vendor.polls if session_of(pid) == worker.pid != pid]
            assert watchers
            for pid in watchers:
                os.kill(pid, signal.SIGKILL)
            vendor.ended.update(crowd.ending)

            # Then other processes watch them, and the worker itself lives
            assert wait_until(
                lambda: watched(stack, but_by=before) == len(crowd.others), TO_RECOVER
            ), stack.rows("SELECT * FROM holder")
            prove_ends(stack, crowd.jobs)
            assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
            assert worker.lives
            assert stack.contradictions() == []


@pytest.mark.parametrize("pool", SLOTS)
def test_one_operation_among_thousands_that_kills_its_pollers_is_set_aside(pool: str) -> None:
    # Given 5,000 operations, one of which kills the process that polls it
    count, ended = 5000, 50
    with watched_stack(lease=3.0, floor=30.0) as (stack, vendor):
        crowd = begun(stack, count, ended=ended)
        vendor.deadly = deadly = crowd.others[len(crowd.others) // 2]
        with supervised(stack, pool) as revive:
            # When processes are replaced as often as they die
            # Then it is found and set aside, and kills no other process
            assert wait_until(lambda: revive() and is_set_aside(stack, deadly), TO_FIND), (
                len(vendor.killed),
                stack.rows("SELECT what, tries, faults, count(*) FROM due GROUP BY 1, 2, 3"),
            )
            assert 0 < len(vendor.killed) <= POISON_TRIES

            # and all others are watched until they end
            vendor.ended.update(crowd.ending)
            prove_ends(stack, crowd.jobs)
            rest = [one for one in crowd.others if one != deadly]
            assert wait_until(lambda: watched(stack) == len(rest), TO_RECOVER), watched(stack)
            assert are_all_asked(vendor, rest, within=TO_RECOVER)
            assert len(vendor.killed) <= POISON_TRIES
            assert stack.contradictions() == []


def is_set_aside(stack: FaultStack, operation: str) -> bool:
    sql = "SELECT faults > 0 AS is_set_aside FROM due WHERE what = 'poll' AND 'op-' || id = %s"
    (row,) = stack.rows(sql, operation)
    return bool(row["is_set_aside"])


@contextmanager
def supervised(stack: FaultStack, pool: str) -> Iterator[Callable[[], bool]]:
    """A worker of this pool; yields a function that restarts it if it died, and returns True."""
    with stack.another_worker(pool=pool, slots=SLOTS[pool]) as worker:

        def revive() -> bool:
            if not worker.lives:
                assert worker.returncode == -signal.SIGKILL, worker.said[-2000:]
                worker.start()
            return True

        yield revive
