"""Thousands are watched while their database goes away, or their watcher is overloaded or dies."""

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

#: Of each worker, in seconds: who watches counts as dead after 8.
LEASE = 10.0
#: Seconds that the database is away: longer than a lease, a heartbeat and any try of ours.
AWAY = 60.0
#: Seconds in which all operations come to be watched, and in which all are well again.
TO_BEGIN, TO_RECOVER = 300.0, 300.0
#: Slots of a pool's worker.
SLOTS = {"threads": 24, "prefork": 6}
#: Seconds in which the operation that kills is found: each death costs a lease and a start.
TO_FIND = 600.0
#: How often an operation may change hands until the loads are level: the processes of a pool come
#: to be watchers one after the other.
MOVES = {"threads": 3, "prefork": 12}
#: Seconds that operations usually take, within so wide a range that looks come at the floor.
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
    """The operations of a test: those that end, with their jobs, and the others."""

    operations: list[str]
    jobs: list[str]
    ending: list[str]
    others: list[str]


def watched(stack: FaultStack, *, but_by: list[str] | None = None) -> int:
    """How many operations living holders watch, `but_by` certain ones."""
    (row,) = stack.rows(_WATCHED, but_by or [])
    return int(row["n"])


def holders(stack: FaultStack) -> set[str]:
    return {row["id"] for row in stack.rows(_HOLDERS)}


def are_all_asked(vendor: Vendor, operations: list[str], *, within: float) -> bool:
    """Whether the vendor is asked for each of these from now on, in time."""
    began = time.monotonic()
    count = len(operations)
    return wait_until(lambda: vendor.asked_since(began, operations) == count, within)


def prove_ends(stack: FaultStack, jobs: list[str]) -> None:
    """Each of these jobs, and no other, has failed once, and was told of once."""
    sql = "SELECT count(*) = %s FROM delivery WHERE state = 'delivered' AND job = ANY(%s)"
    assert stack.until(sql, len(jobs), jobs, within=TO_RECOVER), stack.rows(
        "SELECT state, count(*) FROM job GROUP BY state"
    )
    assert {row["job"]: row["n"] for row in stack.rows(_ENDS)} == dict.fromkeys(jobs, 1)
    assert [len(stack.receiver.of(job)) for job in jobs] == [1] * len(jobs)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_database_that_is_away_for_a_minute_takes_no_operation_from_its_watcher(how: str) -> None:
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
        # In the midst of a round of looks: those that come next do not wait for the database.
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

        # Then ends that were seen meanwhile are written, once, and all others go on
        assert told, "no end came while the database was away"
        assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
        prove_ends(stack, crowd.jobs)
        # where they were: nobody was declared dead, and none was asked for by two
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
    """Operations that nobody watches yet, of which so many are to end; no worker runs."""
    for worker in stack.workers:
        worker.kill()
    every = count // ended if ended else 0
    all_ = accepted(stack, count, typical=TYPICAL, every=every)
    assert stack.contradictions() == []
    # Here and there: those that follow each other are looked at together.
    ends = range(0, count, every) if every else range(0)
    return Crowd(
        operations=all_.operations,
        jobs=[all_.jobs[n] for n in ends],
        ending=[all_.operations[n] for n in ends],
        others=[one for n, one in enumerate(all_.operations) if n not in ends],
    )


@pytest.mark.parametrize("pool", SLOTS)
def test_a_worker_with_too_much_to_look_at_gives_some_to_one_that_comes(pool: str) -> None:
    # Given a worker whose vendor answers so slowly that it can have less than two thirds of the
    # looks that it is asked for; of a pool, all its processes together
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

            # When another comes, and operations end meanwhile
            vendor.forget()
            with stack.another_worker(pool=pool, slots=slots, name="second") as second:
                vendor.ended.update(crowd.ending)

                # Then it gets its share
                share = count // 4
                is_shared = wait_until(lambda: asked_by(vendor, second, crowd) >= share, TO_RECOVER)
                assert is_shared, stack.rows("SELECT * FROM holder")
                # and nothing is lost, doubled or tossed about
                prove_ends(stack, crowd.jobs)
                assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
                assert wait_until(lambda: watched(stack) == len(crowd.others), TO_RECOVER)
                assert watched(stack, but_by=before) >= share
                most = max(vendor.asked[one].moves for one in crowd.others)
                assert most <= MOVES[pool], most
                assert stack.contradictions() == []


def asked_by(vendor: Vendor, worker: Process, crowd: Crowd) -> int:
    """How many operations a process of this worker asked for last."""
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
    # Given a pool whose processes are replaced after a handful of tasks each
    count, ended = 500, 50
    with watched_stack(lease=LEASE, floor=1.0) as (stack, vendor):
        crowd = begun(stack, count, ended=ended)
        with stack.another_worker(
            pool="prefork", slots=4, more=("--max-tasks-per-child", "8")
        ) as worker:
            assert wait_until(lambda: watched(stack) == count, TO_BEGIN), watched(stack)
            before = sorted(holders(stack))

            # When those that watched are gone, and operations end meanwhile; their successors are
            # replaced as well, so what is watched changes all the time
            vendor.ended.update(crowd.ending)
            assert wait_until(lambda: holders(stack).isdisjoint(before), TO_RECOVER), stack.rows(
                "SELECT * FROM holder"
            )

            # Then they have handed everything back themselves, and nothing is lost
            prove_ends(stack, crowd.jobs)
            assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
            assert '"watch.left"' in worker.said
            assert "watch.holder_died" not in worker.said
            assert stack.contradictions() == []


def test_what_a_killed_process_of_a_pool_watched_is_watched_by_its_siblings() -> None:
    count, ended = 500, 50
    with watched_stack(lease=LEASE, floor=1.0) as (stack, vendor):
        crowd = begun(stack, count, ended=ended)
        with stack.another_worker(pool="prefork", slots=SLOTS["prefork"]) as worker:
            assert wait_until(lambda: watched(stack) == count, TO_BEGIN), watched(stack)
            assert are_all_asked(vendor, crowd.operations, within=TO_BEGIN)
            before = sorted(holders(stack))

            # When all processes that watch are killed, and operations end meanwhile
            watchers = [pid for pid in vendor.polls if session_of(pid) == worker.pid != pid]
            assert watchers
            for pid in watchers:
                os.kill(pid, signal.SIGKILL)
            vendor.ended.update(crowd.ending)

            # Then others watch them, and the worker itself lives
            assert wait_until(
                lambda: watched(stack, but_by=before) == len(crowd.others), TO_RECOVER
            ), stack.rows("SELECT * FROM holder")
            prove_ends(stack, crowd.jobs)
            assert are_all_asked(vendor, crowd.others, within=TO_RECOVER)
            assert worker.lives
            assert stack.contradictions() == []


@pytest.mark.parametrize("pool", SLOTS)
def test_one_operation_among_thousands_that_kills_who_asks_for_it_is_set_aside(pool: str) -> None:
    # Given 5,000 operations, of which one kills the process that asks for it
    count, ended = 5000, 50
    with watched_stack(lease=3.0, floor=30.0) as (stack, vendor):
        crowd = begun(stack, count, ended=ended)
        vendor.deadly = deadly = crowd.others[len(crowd.others) // 2]
        with supervised(stack, pool) as revive:
            # When processes are replaced as often as they die
            # Then it is found and set aside, and after that kills nobody
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
    """A worker of this pool; what is given starts it again if it has died, and is true."""
    with stack.another_worker(pool=pool, slots=SLOTS[pool]) as worker:

        def revive() -> bool:
            if not worker.lives:
                assert worker.returncode == -signal.SIGKILL, worker.said[-2000:]
                worker.start()
            return True

        yield revive
