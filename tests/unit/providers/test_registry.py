"""The accounts that the environment gives, and what is missing where it gives none."""

import pytest
from pydantic import SecretStr

from providers import registry
from providers.base import Provider
from providers.registry import (
    PROVIDERS,
    accounts,
    is_vendor_variable,
    missing_variables,
    provider_of,
    variable_of,
    vendor_variables,
)
from providers.vendors.runway import Runway
from settings import Settings, SettingsError, load

SOMEWHERE = {"LONGTAKE_DATA_DIR": "/nonexistent"}


def test_the_variables_are_those_that_a_provider_declares_and_no_others() -> None:
    given = {"RUNWAYML_API_SECRET": "k", "FAL_WEBHOOK_JWKS": "j", "PERF_BASE_URL": "https://x"}
    found = vendor_variables(load(SOMEWHERE | given | {"PATH": "/bin", "KLING_API_KEY": ""}))
    assert {name: value.get_secret_value() for name, value in found.items()} == given


def test_a_running_stacks_variables_are_for_an_environment_without_any() -> None:
    stacks = Settings(vendor={"RUNWAYML_API_SECRET": SecretStr("of_the_stack")})
    assert list(vendor_variables(stacks)) == ["RUNWAYML_API_SECRET"]
    own = stacks.model_copy(update={"other_variables": {"FAL_KEY": SecretStr("own")}})
    assert list(vendor_variables(own)) == ["FAL_KEY"]


def test_no_variable_of_the_environment_is_shown_with_the_settings() -> None:
    assert "hidden" not in repr(load(SOMEWHERE | {"SOME_TOKEN": "hidden", "FAL_KEY": "hidden"}))


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_every_capability_that_is_not_the_plainest_has_a_source(provider: Provider) -> None:
    assert {"cancel", "look_up", "poll_floor", "refusals", "result_lives"} <= set(
        provider.capabilities.sources
    )


def test_only_providers_with_credentials_have_accounts() -> None:
    assert accounts(load(SOMEWHERE)) == {}
    found = accounts(load(SOMEWHERE | {"RUNWAYML_API_SECRET": "key_1"}))
    assert list(found) == ["runway"]
    assert found["runway"].base_url == "https://api.dev.runwayml.com"
    assert found["runway"].credentials == {"RUNWAYML_API_SECRET": "key_1"}


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "https://api.openai.com./v1", "https://API.OpenAI.com.:443/v1"],
)
def test_the_vendors_own_address_in_any_spelling_makes_no_retired_model(url: str) -> None:
    given = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": url}
    assert accounts(load(SOMEWHERE | given)) == {}
    elsewhere = given | {"OPENAI_BASE_URL": "https://api.openai.com.example/v1"}
    assert list(accounts(load(SOMEWHERE | elsewhere))) == ["openai_videos"]


def test_a_base_address_is_taken_as_the_sdk_takes_it() -> None:
    environment = {"LUMA_AGENTS_API_KEY": "k", "LUMA_BASE_URL": "http://127.0.0.1:81/luma/v1/"}
    found = accounts(load(SOMEWHERE | environment))
    assert found["luma_agents"].base_url == "http://127.0.0.1:81/luma/v1"


@pytest.mark.parametrize("url", ["127.0.0.1:81", "ftp://x", "https://", "https://x/?a=1"])
def test_a_wrong_base_address_is_told_by_its_variable(url: str) -> None:
    environment = {"RUNWAYML_API_SECRET": "k", "RUNWAYML_BASE_URL": url}
    with pytest.raises(SettingsError, match="RUNWAYML_BASE_URL"):
        accounts(load(SOMEWHERE | environment))


def test_an_account_never_shows_its_key() -> None:
    found = accounts(load(SOMEWHERE | {"RUNWAYML_API_SECRET": "key_secret"}))
    assert "key_secret" not in repr(found)


def test_credentials_may_be_alternatives_of_several_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a vendor that takes one key or a pair
    class Pair(Runway):
        credentials = (("KLING_API_KEY",), ("KLING_ACCESS_KEY", "KLING_SECRET_KEY"))

    monkeypatch.setattr(registry, "PROVIDERS", {"runway": Pair()})
    # Then half a pair is nothing, a pair is an account, and what is missing is told in words
    assert accounts(load(SOMEWHERE | {"KLING_ACCESS_KEY": "a"})) == {}
    both = {"KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY": "b"}
    assert accounts(load(SOMEWHERE | both))["runway"].credentials == both
    words = "KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY"
    assert missing_variables("runway") == words


def test_variables_with_one_suffix_make_an_account_of_that_name() -> None:
    # Given a plain key, two named ones, and base addresses of which one has a name
    environment = {
        "RUNWAYML_API_SECRET": "plain",
        "RUNWAYML_API_SECRET__TEAM_A": "of a",
        "RUNWAYML_API_SECRET__b-2": "of b",
        "RUNWAYML_BASE_URL": "https://default.test",
        "RUNWAYML_BASE_URL__B-2": "https://own.test/",
    }
    found = accounts(load(SOMEWHERE | environment))
    # Then each has its own key, and the plain base address is the default
    told = {
        name: (one.provider, one.credentials["RUNWAYML_API_SECRET"], one.base_url)
        for name, one in found.items()
    }
    assert told == {
        "runway": ("runway", "plain", "https://default.test"),
        "runway:team_a": ("runway", "of a", "https://default.test"),
        "runway:b-2": ("runway", "of b", "https://own.test"),
    }


def test_credentials_of_one_account_are_never_mixed_with_another_s() -> None:
    # A pair of which one half has a name makes no account: only base addresses are shared
    half = {"KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY__TEAM": "b"}
    assert accounts(load(SOMEWHERE | half)) == {}
    pair = {"KLING_ACCESS_KEY__TEAM": "a", "KLING_SECRET_KEY__team": "b"}
    found = accounts(load(SOMEWHERE | half | pair | {"KLING_SECRET_KEY__TEAM": ""}))
    assert found["kling_legacy:team"].credentials == {
        "KLING_ACCESS_KEY": "a",
        "KLING_SECRET_KEY": "b",
    }
    assert "kling_legacy" not in found


@pytest.mark.parametrize(
    "suffix", ["", "A B", "Ä", "A__B", "_A", "A_", "a:b", "a.b", "x" * 33, "plain", "PLAIN"]
)
def test_an_odd_name_is_told_by_its_variable(suffix: str) -> None:
    variable = f"RUNWAYML_API_SECRET__{suffix}"
    with pytest.raises(SettingsError) as caught:
        accounts(load(SOMEWHERE | {variable: "key_secret"}))
    assert str(caught.value).startswith(f"{variable}: the account's name after")
    assert "key_secret" not in str(caught.value)


def test_two_spellings_of_one_variable_are_refused() -> None:
    both = {"RUNWAYML_API_SECRET__A": "one", "RUNWAYML_API_SECRET__a": "two"}
    with pytest.raises(SettingsError, match="upper and lower case are alike"):
        accounts(load(SOMEWHERE | both))


def test_a_wrong_base_address_of_a_named_account_is_told_by_its_variable() -> None:
    environment = {"RUNWAYML_API_SECRET__A": "k", "RUNWAYML_BASE_URL__A": "nowhere"}
    with pytest.raises(SettingsError, match="RUNWAYML_BASE_URL__A: must be"):
        accounts(load(SOMEWHERE | environment))


def test_an_account_takes_its_own_callback_secret_or_the_plain_one() -> None:
    environment = {"REPLICATE_WEBHOOK_SECRET": "plain", "REPLICATE_WEBHOOK_SECRET__A": "of a"}
    variable = PROVIDERS["replicate"].callback_secret
    assert variable == "REPLICATE_WEBHOOK_SECRET"
    told = {
        name: variable_of(load(SOMEWHERE | environment), variable, account=name)
        for name in ("replicate", "replicate:a", "replicate:b")
    }
    assert told == {"replicate": "plain", "replicate:a": "of a", "replicate:b": "plain"}


def test_variables_with_a_name_are_vendors_variables_too() -> None:
    assert is_vendor_variable("RUNWAYML_API_SECRET__A")
    assert not is_vendor_variable("SOME_TOKEN__A")
    assert set(vendor_variables(load(SOMEWHERE | {"FAL_KEY__A": "k", "SOME__A": "x"}))) == {
        "FAL_KEY__A"
    }


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_account_s_name_tells_its_provider(name: str) -> None:
    assert provider_of(name) == provider_of(f"{name}:team") == name
