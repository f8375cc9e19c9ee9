"""Secrets in files, as Docker's secrets are: `NAME_FILE` names the file of NAME's value."""

from pathlib import Path

import pytest

from providers.registry import accounts, variable_of
from settings import SettingsError, load

KEY = "k" * 40


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(KEY + "\n")
    return file


def test_a_setting_is_read_from_its_file_without_the_line_end(secret: Path) -> None:
    settings = load({"LONGTAKE_SECRET_KEYS_FILE": str(secret), "LONGTAKE_DATA_DIR": "/nowhere"})

    assert [key.get_secret_value() for key in settings.secret_keys] == [KEY]


@pytest.mark.parametrize(
    ("variable", "account"),
    [("RUNWAYML_API_SECRET", "runway"), ("RUNWAYML_API_SECRET__TEAM", "runway:team")],
)
def test_a_vendors_variable_is_read_from_its_file(
    secret: Path, variable: str, account: str
) -> None:
    found = accounts(load({f"{variable}_FILE": str(secret), "LONGTAKE_DATA_DIR": "/nowhere"}))

    assert set(found) == {account}
    assert KEY in found[account].credentials.values()


def test_a_file_that_goes_away_or_changes_later_changes_nothing(secret: Path) -> None:
    variable = "REPLICATE_WEBHOOK_SECRET"
    settings = load({f"{variable}_FILE": str(secret), "LONGTAKE_DATA_DIR": "/nowhere"})
    assert variable_of(settings, variable, account="replicate") == KEY

    secret.write_text("another")
    assert variable_of(settings, variable, account="replicate") == KEY
    secret.unlink()
    assert variable_of(settings, variable, account="replicate") == KEY
    assert accounts(settings) == {}


@pytest.mark.parametrize("name", ["LONGTAKE_DATABASE_URL", "RUNWAYML_API_SECRET"])
def test_a_variable_and_its_file_together_are_refused_by_both_names(
    secret: Path, name: str
) -> None:
    given = {name: "postgresql://u:hidden@h/d", f"{name}_FILE": str(secret)}
    with pytest.raises(SettingsError) as refused:
        accounts(load(given, sealing=False))

    assert str(refused.value) == f"{name} and {name}_FILE: only one of them may be set"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "can't be read: No such file or directory"),
        (b"\n", "must have 1 to 65536 bytes beside its line end"),
        (b"k" * 70_000, "must have 1 to 65536 bytes beside its line end"),
        (b"\xff" * 40, "must be text in UTF-8"),
    ],
)
def test_a_file_without_a_value_is_named(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        load({"LONGTAKE_SECRET_KEYS_FILE": str(file)})

    assert str(refused.value) == f"LONGTAKE_SECRET_KEYS_FILE: {file} {problem}"


@pytest.mark.parametrize("given", ["u:hidden@h", "ftp://u:hidden@h"])
def test_a_wrong_public_url_is_refused_without_its_password(given: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load({"LONGTAKE_PUBLIC_URL": given})

    assert str(refused.value) == "LONGTAKE_PUBLIC_URL: must begin with http:// or https://"


def test_files_of_unknown_variables_are_left_alone() -> None:
    load({"SSL_CERT_FILE": "/nowhere", "LONGTAKE_NO_SETTING_FILE": "/nowhere"})


def test_the_schema_alone_needs_no_sealing_key() -> None:
    alone = {"LONGTAKE_DATABASE_URL": "postgresql://u@h/d"}

    assert load(alone, sealing=False).require_database() == "postgresql://u@h/d"
    with pytest.raises(SettingsError, match="LONGTAKE_SECRET_KEYS: must be set together"):
        load(alone)
