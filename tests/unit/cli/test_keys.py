"""`longtake keys` against a real database."""

import json
from datetime import datetime, timedelta

import psycopg
import pytest

from tests.unit.cli.scripted import Run


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)


def test_a_key_is_shown_once_and_never_again(run: Run) -> None:
    key = run("keys", "create", "--tenant", "acme").out.strip()

    listed = run("keys", "list").out

    assert key.startswith("lt_")
    assert key not in listed
    assert "acme" in listed


def test_keys_belong_to_tenants_and_may_be_an_operators(run: Run) -> None:
    run("keys", "create", "--tenant", "acme", "--admin")
    run("keys", "create", "--tenant", "other")

    (found,) = json.loads(run("keys", "list", "--tenant", "acme", "--json").out)

    assert (found["tenant"], found["is_admin"], found["revoked_at"]) == ("acme", True, None)


def test_a_key_is_revoked_once(run: Run) -> None:
    made = json.loads(run("keys", "create", "--tenant", "acme", "--json").out)

    assert run("keys", "revoke", made["id"]).code == 0
    assert run("keys", "revoke", made["id"]).code == 2
    (found,) = json.loads(run("keys", "list", "--json").out)
    assert found["revoked_at"]


def test_a_bad_tenant_is_refused_in_words(run: Run) -> None:
    ended = run("keys", "create", "--tenant", "no spaces")

    assert ended.code == 2
    assert "a tenant's name must be" in ended.err


def test_a_list_says_who_may_what_since_when_and_until_when(run: Run) -> None:
    made = run("keys", "create", "--tenant", "ops", "--admin", "--expires", "90d")
    assert "valid for 90d" in made.err
    run("keys", "create", "--tenant", "acme")

    found = {each["tenant"]: each for each in json.loads(run("keys", "list", "--json").out)}
    table = run("keys", "list").out

    lives = datetime.fromisoformat(found["ops"]["expires_at"]) - datetime.fromisoformat(
        found["ops"]["created_at"]
    )
    assert lives == timedelta(days=90)
    assert (found["acme"]["expires_at"], found["acme"]["last_used_at"]) == (None, None)
    assert table.splitlines()[0].endswith(" revoked")
    for shown in ("admin", "last used", "expires", "never", found["ops"]["expires_at"][:10]):
        assert shown in table
    assert made.out.strip() not in table


def test_an_expired_key_is_listed_as_expired(run: Run, database_url: str) -> None:
    run("keys", "create", "--tenant", "acme", "--expires", "90d")
    assert "expired" not in run("keys", "list").out

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE api_key SET expires_at = now() - interval '1 s'")

    assert "expired 2" in run("keys", "list").out


@pytest.mark.parametrize("lasts", ["soon", "0", "3651d", "-1d"])
def test_a_wrong_lifetime_is_refused_in_words(run: Run, lasts: str) -> None:
    ended = run("keys", "create", "--tenant", "acme", f"--expires={lasts}")

    assert ended.code == 2
    assert "--expires must be seconds, or a number with s, m, h or d" in ended.err
    assert "3650 d" in ended.err
