"""`longtake limits` and the tiers of keys, against a real database."""

import json

import pytest

from tests.unit.cli.scripted import Run


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)


def new_key(run: Run, *more: str) -> str:
    made = json.loads(run("keys", "create", "--tenant", "acme", "--json", *more).out)
    id_: str = made["id"]
    return id_


def test_a_key_has_no_limits_unless_it_has_a_tier(run: Run) -> None:
    new_key(run)
    assert json.loads(run("limits", "show", "--json").out) == []

    free = new_key(run, "--tier", "free")

    (found,) = json.loads(run("limits", "show", "--json").out)
    assert found == {
        "holder": "key",
        "id": free,
        "tier": "free",
        "concurrent": {"limit": 1, "used": 0},
        "per_minute": None,
        "per_day": {"limit": 5, "used": 0},
    }


def test_limits_that_are_not_named_stay(run: Run) -> None:
    key = new_key(run, "--tier", "pro")

    run("limits", "set", "--key", key, "--per-minute", "60")
    shown = run("limits", "set", "--key", key, "--per-day", "none", "--concurrent", "7").out

    assert f"key {key}" in shown
    (found,) = json.loads(run("limits", "show", "--key", key, "--json").out)
    assert found["concurrent"]["limit"] == 7
    assert (found["per_minute"]["limit"], found["per_day"]) == (60, None)


def test_a_tier_replaces_all_limits(run: Run) -> None:
    new_key(run)
    run("limits", "set", "--tenant", "acme", "--per-minute", "60")

    shown = run("limits", "set", "--tenant", "acme", "--tier", "pro").out

    for word in ("tenant acme", "pro", "0 of 5", "no limit", "0 of 100"):
        assert word in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tenant", "acme", "--per-day", "0"), "--per-day must be a whole number from 1 to"),
        (("--tenant", "acme", "--per-day", "-1"), "(it is -1)"),
        (("--tenant", "acme", "--concurrent", "1.5"), "(it is 1.5)"),
        (("--tenant", "acme", "--per-minute", "nan"), "(it is nan)"),
        (("--tenant", "acme", "--per-minute", "1" + "0" * 30), "from 1 to 1000000000, or none"),
        (("--tenant", "acme", "--per-minute", "٣"), "--per-minute must be"),
        (("--tenant", "acme", "--tier", "gold"), "tier must be one of free, pro, enterprise"),
        (("--tenant", "acme"), "nothing to set"),
        (("--tenant", "nobody", "--per-day", "5"), "there is no tenant 'nobody'"),
        (("--key", "key_nope", "--per-day", "5"), "there is no key 'key_nope'"),
        (("--per-day", "5"), "give --tenant or --key"),
        (("--tenant", "acme", "--key", "k", "--per-day", "5"), "give --tenant or --key"),
    ],
)
def test_what_can_not_be_set_is_refused_in_words(
    run: Run, options: tuple[str, ...], words: str
) -> None:
    new_key(run)

    ended = run("limits", "set", *options)

    assert ended.code == 2
    assert words in " ".join(ended.err.split())
    assert json.loads(run("limits", "show", "--json").out) == []


def test_a_key_of_an_unknown_tier_is_not_made(run: Run) -> None:
    ended = run("keys", "create", "--tenant", "acme", "--tier", "gold")

    assert ended.code == 2
    assert "tier must be one of free, pro, enterprise (it is 'gold')" in ended.err
    assert json.loads(run("keys", "list", "--json").out) == []


def test_limits_of_nobody_can_not_be_shown(run: Run) -> None:
    assert run("limits", "show", "--tenant", "nobody").code == 2
    assert run("limits", "show").err == "No limits are set.\n"
