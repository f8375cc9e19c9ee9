"""`longtake money` against a real database."""

import json

import pytest

from tests.unit.cli.scripted import Run


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)


def test_a_tenant_pays_afterwards_until_its_first_deposit(run: Run) -> None:
    run("keys", "create", "--tenant", "acme")
    (before,) = json.loads(run("money", "balance", "acme", "--json").out)

    run("money", "deposit", "acme", "12.50")
    run("money", "deposit", "acme", "0.25")

    (after,) = json.loads(run("money", "balance", "acme", "--json").out)
    assert (before["is_prepaid"], after["is_prepaid"]) == (False, True)
    assert after["deposited_micros"] == after["available_micros"] == 12_750_000


def test_a_prepaid_key_makes_its_tenant_prepaid_with_nothing(run: Run) -> None:
    run("keys", "create", "--tenant", "acme", "--prepaid")

    (found,) = json.loads(run("money", "balance", "acme", "--json").out)

    assert (found["is_prepaid"], found["available_micros"]) == (True, 0)


def test_a_deposit_is_in_the_statement_from_both_sides(run: Run) -> None:
    run("keys", "create", "--tenant", "acme")
    run("money", "deposit", "acme", "5")

    entries = json.loads(run("money", "statement", "acme", "--json").out)
    later = json.loads(run("money", "statement", "acme", "--since", "2100-01-01", "--json").out)

    assert {entry["account"]: entry["amount_micros"] for entry in entries} == {
        "operator:deposits": -5_000_000,
        "tenant:available": 5_000_000,
    }
    assert later == []


def test_budgets_are_set_changed_listed_and_removed(run: Run) -> None:
    run("keys", "create", "--tenant", "acme")
    run("money", "budget", "acme", "--day", "10", "--total", "100")
    run("money", "budget", "acme", "--day", "20")
    run("money", "budget", "acme", "--app", "shop", "--month", "3.5")

    listed = json.loads(run("money", "budget", "acme", "--json").out)

    found = {(one["scope"], one["period"]): one["limit_micros"] for one in listed}
    day, month, total = 20_000_000, 3_500_000, 100_000_000
    assert found == {
        ("app", "month"): month,
        ("tenant", "day"): day,
        ("tenant", "total"): total,
    }
    assert [one["resets_at"] is None for one in listed if one["period"] == "total"] == [True]
    run("money", "budget", "acme", "--remove", "day", "--remove", "total")
    (left,) = json.loads(run("money", "budget", "acme", "--json").out)
    assert left["subject"] == "shop"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("deposit", "acme", "-5"), "amount must be US dollars, above 0 and at most 1000000000"),
        (("deposit", "acme", "1" + "0" * 30), "(it is '1000000000000000000000000000000')"),
        (("deposit", "acme", "NaN"), "(it is 'NaN')"),
        (("deposit", "nobody", "5"), "there is no tenant 'nobody'"),
        (("balance", "nobody"), "there is no tenant 'nobody'"),
        (("statement", "nobody"), "there is no tenant 'nobody'"),
        (("statement", "acme", "--since", "soon"), "--since must be a date as in 2026-01-31"),
        (("budget", "acme", "--day", "0"), "day must be US dollars, above 0"),
        (("budget", "acme", "--month", "-1"), "month must be US dollars, above 0"),
        (("budget", "nobody", "--day", "1"), "there is no tenant 'nobody'"),
        (("budget", "acme", "--key", "key_x", "--day", "1"), "tenant acme has no key 'key_x'"),
        (("budget", "acme", "--key", "k", "--app", "a", "--day", "1"), "either --key or --app"),
        (("budget", "acme", "--app", "", "--day", "1"), "--app must be 1 to 255"),
        (("budget", "acme", "--remove", "week"), "--remove must be one of day, month, total"),
        (("budget", "acme", "--remove", "day"), "tenant acme has no day budget"),
    ],
)
def test_bad_input_is_refused_in_words_and_changes_nothing(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    run("keys", "create", "--tenant", "acme")

    ended = run("money", *arguments)

    assert ended.code == 2
    assert words in " ".join(ended.err.split())
    assert json.loads(run("money", "budget", "acme", "--json").out) == []
    (balance,) = json.loads(run("money", "balance", "acme", "--json").out)
    assert (balance["is_prepaid"], balance["deposited_micros"]) == (False, 0)


def test_deposits_have_a_sum_that_they_may_not_pass(run: Run) -> None:
    run("keys", "create", "--tenant", "acme")
    for _ in range(100):
        assert run("money", "deposit", "acme", "1000000000").code == 0

    ended = run("money", "deposit", "acme", "0.01")

    assert ended.code == 2
    assert "deposits must sum to at most $100000000000.00" in " ".join(ended.err.split())
