"""`longtake keys` against a real database."""

import json

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
