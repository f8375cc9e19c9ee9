"""`longtake ui-link` against a real database."""

import re

import psycopg
import pytest

from tests.unit.cli.scripted import Run


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)
    monkeypatch.setenv("LONGTAKE_PUBLIC_URL", "https://example.com/video/")
    monkeypatch.delenv("LONGTAKE_UI_PREFIX", raising=False)


def sessions(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        sql = "SELECT tenant, is_admin, is_read_only, api_key FROM page_session ORDER BY id"
        return connection.execute(sql).fetchall()


def test_a_link_is_printed_alone_and_says_for_how_long(run: Run, database_url: str) -> None:
    key = run("keys", "create", "--tenant", "acme")
    key_id = re.search(r"key_\w+", key.err)
    assert key_id

    made = run("ui-link", "--tenant", "acme", "--read-only", "--key", key_id[0])
    admin = run("ui-link", "--tenant", "acme", "--admin")

    assert re.fullmatch(r"https://example\.com/video/ui/in/[\w-]{43}\n", made.out)
    assert "within 10 minutes" in made.err
    assert admin.code == 0
    assert sessions(database_url) == [
        *(("acme", False, True, key_id[0]), ("acme", True, False, None)),
    ]


@pytest.mark.parametrize("public", ["https://example.com", "https://example.com/video"])
def test_a_prefix_stands_in_the_link_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, public: str
) -> None:
    monkeypatch.setenv("LONGTAKE_PUBLIC_URL", public)
    monkeypatch.setenv("LONGTAKE_UI_PREFIX", "/video")
    run("keys", "create", "--tenant", "acme")

    assert run("ui-link", "--tenant", "acme").out.startswith("https://example.com/video/ui/in/")


def test_all_of_a_tenant_end_at_once(run: Run, database_url: str) -> None:
    for tenant in ("acme", "other"):
        run("keys", "create", "--tenant", tenant)
        run("ui-link", "--tenant", tenant)

    assert run("ui-link", "--tenant", "acme", "--end").code == 0
    assert [row[0] for row in sessions(database_url)] == ["other"]
    assert run("ui-link", "--tenant", "other", "--end", "--admin").code == 2


def test_an_unknown_tenant_is_refused_in_words(run: Run) -> None:
    ended = run("ui-link", "--tenant", "nobody")

    assert ended.code == 2
    assert "there is no tenant 'nobody'" in ended.err
    assert ended.out == ""
