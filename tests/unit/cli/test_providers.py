"""`longtake providers` against a real database."""

import json
from typing import Any

import pytest

from tests.unit.cli.scripted import Run


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)
    monkeypatch.setenv("RUNWAYML_API_SECRET", "key_secret")
    monkeypatch.setenv("RUNWAYML_API_SECRET__TEAM", "key_secret")


def listed(run: Run) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(run("providers", "list", "--json").out)}


def test_a_fresh_list_has_every_account_that_has_credentials(run: Run) -> None:
    found = listed(run)
    shown = run("providers", "list").out

    assert sorted(found) == ["runway", "runway:team"]
    assert found["runway:team"] == {
        "name": "runway:team",
        "provider": "runway",
        "weight": 1.0,
        "paused_at": None,
        "paused_until": None,
        "pause_reason": None,
        "blocked_at": None,
        "block_code": None,
        "block_reason": None,
        "probe_at": None,
        "cap_micros": None,
        "cap_period": None,
        "spent_micros": 0,
        "unfinished": 0,
        "waiting": 0,
    }
    assert "runway:team" in shown
    assert "key_secret" not in shown


def test_a_provider_is_paused_with_all_its_accounts(run: Run) -> None:
    run("providers", "pause", "runway", "--for", "2h", "--reason", "the vendor is down")
    found = listed(run)
    shown = run("providers", "list").out

    for one in found.values():
        assert one["paused_at"] < one["paused_until"]
        assert one["pause_reason"] == "the vendor is down"
    assert shown.count("the vendor is down") == 2

    # One of its accounts can't be resumed alone
    ended = run("providers", "resume", "runway:team")
    assert ended.code == 2
    assert "longtake providers resume runway" in ended.err
    run("providers", "resume", "runway")
    assert [one["paused_at"] for one in listed(run).values()] == [None, None]


@pytest.mark.parametrize(
    ("target", "name"), [("runway:plain", "runway"), ("runway:team", "runway:team")]
)
def test_one_account_is_paused_alone_and_resumed_with_its_provider(
    run: Run, target: str, name: str
) -> None:
    run("providers", "pause", target)
    assert [one for one, row in listed(run).items() if row["paused_at"]] == [name]
    assert run("providers", "resume", "runway").code == 0
    assert not any(row["paused_at"] for row in listed(run).values())


def test_a_provider_without_credentials_here_can_be_paused(run: Run) -> None:
    assert run("providers", "pause", "fal").code == 0
    assert listed(run)["fal"]["paused_at"]
    assert run("providers", "resume", "fal").code == 0


def test_a_cap_is_set_changed_and_removed(run: Run) -> None:
    run("providers", "cap", "runway:team", "12.50", "--per", "month")
    run("providers", "cap", "runway:plain", "1", "--per", "total")
    run("providers", "cap", "runway", "5", "--per", "day")
    found = {name: (row["cap_micros"], row["cap_period"]) for name, row in listed(run).items()}
    assert found == {"runway": (5_000_000, "day"), "runway:team": (12_500_000, "month")}
    assert "$12.50 month" in run("providers", "list").out

    run("providers", "cap", "runway:team", "--none")
    assert listed(run)["runway:team"]["cap_micros"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cap", "runway", "-5", "--per", "day"), "(it is '-5')"),
        (("cap", "runway", "nan", "--per", "day"), "(it is 'nan')"),
        (("cap", "runway", "inf", "--per", "day"), "the cap must be US dollars, above 0"),
        (("cap", "runway", "0", "--per", "day"), "the cap must be US dollars, above 0"),
        (("cap", "runway", "1" + "0" * 30, "--per", "day"), "at most 1000000000"),
        (("cap", "runway", "0.0000001", "--per", "day"), "at most 6 decimals"),
        (("cap", "runway", "5", "--per", "week"), "--per must be one of day, month, total"),
        (("cap", "runway", "5"), "give an amount and --per"),
        (("cap", "runway"), "give an amount and --per"),
        (("cap", "runway", "5", "--none"), "not both"),
        (("cap", "runway", "--none"), "runway has no cap"),
        (("cap", "runway:nobody", "5", "--per", "day"), "the known ones are runway, runway:team"),
        (("pause", "nobody"), "there is no account 'nobody'; the known ones are runway, "),
        (("pause", "runway", "--for", "-1"), "(it is '-1')"),
        (("pause", "runway", "--for", "0"), "--for must be seconds"),
        (("pause", "runway", "--for", "nan"), "--for must be seconds"),
        (("pause", "runway", "--for", "1e30"), "--for must be seconds"),
        (("pause", "runway", "--for", "366d"), "from 1 s to 365 d"),
        (("pause", "runway", "--for", "٣"), "--for must be seconds"),
        (("pause", "runway", "--reason", ""), "--reason must be 1 to 500"),
        (("pause", "runway", "--reason", "a\nb"), "--reason must be 1 to 500"),
        (("resume", "runway"), "runway is not paused"),
        (("resume", "runway:team"), "runway:team is not paused"),
        (("resume", "luma"), "the known ones are"),
    ],
)
def test_what_can_not_be_done_is_refused_in_words(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    before = listed(run)
    ended = run("providers", *words)
    assert ended.code == 2
    assert message in " ".join(ended.err.split())
    assert listed(run) == before


def test_a_wrong_suffix_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNWAYML_API_SECRET__A.B", "key_secret")
    ended = run("providers", "list")
    assert ended.code == 2
    assert "RUNWAYML_API_SECRET__A.B: the account's name" in ended.err
    assert "key_secret" not in ended.err
