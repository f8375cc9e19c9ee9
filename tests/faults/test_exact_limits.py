"""Limits and budgets are exact over several API processes that are asked at once."""

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.faults.conftest import Print
from tests.faults.harness.crowd import Answers, submit_at_once
from tests.faults.harness.lanes import asked_of
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.tables import table
from tests.faults.harness.wishes import fresh_name

pytestmark = pytest.mark.chaos

#: API processes besides the stack's own, rounds of each limit, and requests of a round.
MORE_APIS, ROUNDS, REQUESTS = 3, 10, 1000
#: Jobs that a budget is for, and that the other limits allow.
BUDGETED, ALLOWED = 100, 5
#: Seconds in which accepted jobs must come to their ends.
TO_SETTLE = 120.0
_SPENT = """
SELECT coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:spent'), 0)::bigint AS spent,
       coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:reserved'), 0)::bigint
       AS reserved
FROM ledger_entry WHERE tenant = %s
"""


@pytest.fixture(scope="module")
def rounds(print_at_the_end: Print) -> Iterator[list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = []
    yield rows
    head = ("limit", "round", "accepted", "refused", "billed", "spent")
    print_at_the_end("exact limits, 32 threads over 4 API processes", table(head, rows))


@pytest.fixture(scope="module")
def urls(shared_house: FaultStack) -> Iterator[list[str]]:
    with shared_house.more_apis(MORE_APIS) as more:
        yield [shared_house.url, *more]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_budget_accepts_what_it_has_room_for(
    house: FaultStack, urls: list[str], rounds: list[tuple[object, ...]], number: int
) -> None:
    tenant, key = _tenant(house, f"budget-{number}")
    price = _price(house)
    house.longtake("money", "budget", tenant, "--total", str(price * BUDGETED))

    seen = _crowd(urls, key, tenant)
    assert seen.statuses == {202: BUDGETED, 402: REQUESTS - BUDGETED}
    assert {refusal["code"] for refusal in seen.refusals} == {"budget_exceeded"}
    assert house.until_final(seen.accepted, within=TO_SETTLE)
    (money,) = house.rows(_SPENT, tenant)
    billed = _billed(house, tenant)
    rounds.append(("budget", number, *_counts(seen), billed, f"${money['spent'] / 1e6:.2f}"))
    assert billed == BUDGETED
    assert (money["spent"], money["reserved"]) == (price * BUDGETED * 1_000_000, 0)
    assert house.contradictions() == []


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("limit", ["per-day", "concurrent"])
def test_a_limit_accepts_what_it_allows(
    house: FaultStack, urls: list[str], rounds: list[tuple[object, ...]], limit: str, number: int
) -> None:
    tenant, key = _tenant(house, f"{limit}-{number}")
    house.longtake("limits", "set", "--tenant", tenant, f"--{limit}", str(ALLOWED))

    house.worker.freeze()  # no job ends meanwhile
    seen = _crowd(urls, key, tenant)
    house.worker.thaw()
    assert seen.statuses == {202: ALLOWED, 429: REQUESTS - ALLOWED}
    assert {refusal["code"] for refusal in seen.refusals} == {f"{limit.replace('-', '_')}_limit"}
    assert house.until_final(seen.accepted, within=TO_SETTLE)
    billed = _billed(house, tenant)
    rounds.append((limit, number, *_counts(seen), billed, ""))
    assert billed == ALLOWED
    assert house.contradictions() == []


def _tenant(house: FaultStack, limit: str) -> tuple[str, str]:
    """A tenant of its own, and a key of it."""
    tenant = f"{limit}-{fresh_name()}"
    made = json.loads(house.longtake("keys", "create", "--tenant", tenant, "--json"))
    return tenant, made["key"]


def _price(house: FaultStack) -> Decimal:
    """What one of the crowd's jobs is estimated to cost, in US dollars."""
    name = fresh_name()
    with house.client() as client:
        job = client.submit(_body(name), key=name)
        estimate = Decimal(str(client.get(job)["estimated_cost_usd"]))
    assert house.until_final([job], within=TO_SETTLE)
    return estimate


def _body(name: str) -> dict[str, object]:
    return {"prompt": f"Rain on a tin roof at night, {name}", **asked_of("runway")}


def _crowd(urls: list[str], key: str, tenant: str) -> Answers:
    return submit_at_once(urls, [_body(tenant)] * REQUESTS, key=key)


def _counts(seen: Answers) -> tuple[int, int]:
    return len(seen.accepted), len(seen.refusals)


def _billed(house: FaultStack, tenant: str) -> int:
    """Paid POSTs whose prompt names the tenant."""
    return sum(tenant in str(row["body"]) for row in house.simulator.bill())
