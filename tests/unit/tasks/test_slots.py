"""Slots: pumps leave some free for ticks, deadlines and other periodic work."""

import threading
from contextlib import ExitStack

import pytest

from models.verbs import DECLARED, What
from stack.roles import WORKERS
from tasks.pump.slots import Slots
from tasks.queues import Queue
from tests.unit.compose_file import REQUIRED, read

CONTROL = [each.what for each in DECLARED if each.queue == Queue.CONTROL]
WORK = [What.POLL, What.STORE, What.DELIVER]


def fill(stack: ExitStack, slots: Slots, what: What) -> int:
    """Take slots until there is none for such a pump; how many."""
    count = 0
    while stack.enter_context(slots.taken(what)):
        count += 1
    return count


@pytest.mark.parametrize("what", WORK)
def test_however_many_pumps_of_work_wait_there_are_slots_for_control(what: What) -> None:
    slots = Slots(total=48)
    with ExitStack() as stack:
        work = fill(stack, slots, what)
        control = fill(stack, slots, CONTROL[0])

        assert (work, control) == (36, 6)
        assert 48 - work - control >= 6  # one for each kind of periodic work
    with slots.taken(what) as is_taken:
        assert is_taken


def test_pumps_of_control_leave_slots_for_the_tick() -> None:
    with ExitStack() as stack:
        assert {fill(stack, Slots(total=8), what) for what in CONTROL} == {7}


def test_a_small_worker_still_runs_pumps_of_each_kind() -> None:
    for total in (1, 2, 3):
        with ExitStack() as stack:
            assert {fill(stack, Slots(total=total), what) for what in (*WORK, *CONTROL)} == {total}


def test_neither_work_nor_submits_take_the_slots_of_control() -> None:
    slots = Slots(total=48)
    with ExitStack() as stack:
        work = fill(stack, slots, What.STORE)
        submits = fill(stack, slots, What.SUBMIT)
        control = fill(stack, slots, CONTROL[0])

        assert (work, submits, control) == (36, 3, 3)
    with ExitStack() as stack:
        submits = fill(stack, slots, What.SUBMIT)
        assert (submits, fill(stack, slots, CONTROL[0])) == (39, 3)
    with slots.taken(What.SUBMIT) as is_taken:
        assert is_taken


def test_control_leaves_submits_some_slots_too() -> None:
    slots = Slots(total=48)
    with ExitStack() as stack:
        taken = [fill(stack, slots, what) for what in (What.STORE, CONTROL[0], What.SUBMIT)]
        assert taken == [36, 6, 3]


def test_submits_take_every_slot_of_their_worker() -> None:
    slots = Slots(total=4)
    with ExitStack() as stack:
        assert all(stack.enter_context(slots.taken(What.SUBMIT)) for _ in range(4))


def test_nothing_is_limited_where_each_slot_is_a_process() -> None:
    slots = Slots()
    with ExitStack() as stack:
        assert all(stack.enter_context(slots.taken(What.STORE)) for _ in range(100))


def test_threads_do_not_take_the_same_slot() -> None:
    slots, begun, results = Slots(total=4), threading.Barrier(16), list[bool]()
    gone = threading.Event()

    def run() -> None:
        begun.wait(10)
        with slots.taken(What.STORE) as is_taken:
            results.append(is_taken)
            if is_taken:
                gone.wait(10)

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    while len(results) < 16:
        threads[0].join(0.005)
    gone.set()
    for thread in threads:
        thread.join(10)
    assert results.count(True) == 3


def test_the_containers_have_as_many_slots_as_the_local_stack() -> None:
    command = read(REQUIRED)["services"]["worker"]["command"]

    assert f"--concurrency={WORKERS['main'][1]}" in command
