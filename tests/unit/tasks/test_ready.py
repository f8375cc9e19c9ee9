"""The rows that wait to be started: tenants take turns, and each one's rows keep their order."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pump.ready import Ready


@dataclass(frozen=True, slots=True)
class Row:
    tenant: str
    number: int


def filled(tenants: str) -> Ready[Row]:
    """A row for each letter, in this order."""
    ready = Ready[Row]()
    for number, tenant in enumerate(tenants):
        ready.add(Row(tenant, number))
    return ready


def drained(ready: Ready[Row]) -> list[Row]:
    return [ready.take() for _ in range(len(ready))]


def test_tenants_take_turns() -> None:
    assert "".join(row.tenant for row in drained(filled("aaaabbc"))) == "abcabaa"


def test_a_tenant_that_comes_late_has_its_turn_after_one_row_of_each_other() -> None:
    ready = filled("aaaabbbb")
    assert ready.take().tenant == "a"

    ready.add(Row("c", 98))
    ready.add(Row("d", 99))

    assert "".join(row.tenant for row in drained(ready)) == "bcdababab"


def test_a_tenant_that_comes_late_does_not_overtake_others_again_and_again() -> None:
    ready, taken = filled("aaabbb"), ""
    for number in range(6):
        ready.add(Row("c", number))
        taken += ready.take().tenant

    assert taken == "abcabc"


@given(st.text("abcd", max_size=40))
def test_no_row_is_lost_and_each_tenants_rows_keep_their_order(tenants: str) -> None:
    ready = filled(tenants)
    assert Counter(ready) == Counter(drained(filled(tenants)))

    rows = drained(ready)

    assert len(rows) == len(tenants)
    for tenant in set(tenants):
        numbers = [row.number for row in rows if row.tenant == tenant]
        assert numbers == sorted(numbers)
    assert not ready
    with pytest.raises(KeyError):
        ready.take()


def test_a_removed_row_is_not_taken() -> None:
    ready = filled("aab")
    first, *_ = ready

    ready.remove(first)
    ready.remove(Row("b", 2))

    assert [row.number for row in drained(ready)] == [1]
    for gone in (first, Row("b", 2)):
        with pytest.raises(KeyError):
            ready.remove(gone)


def test_it_tells_which_tenants_have_many() -> None:
    ready = filled("aaabbc")

    assert ready.those_with(2) == ["a", "b"]
    ready.clear()
    assert ready.those_with(1) == []
    assert not ready
