"""The accounts that the environment gives, and what is missing where it gives none."""

import pytest

from providers import registry
from providers.base import Provider
from providers.registry import PROVIDERS, accounts, missing_variables
from providers.vendors.runway import Runway
from settings import VENDOR_VARIABLES, SettingsError, load

SOMEWHERE = {"LONGTAKE_DATA_DIR": "/nonexistent"}


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_every_variable_of_a_provider_is_one_that_the_settings_read(provider: Provider) -> None:
    variables = {name for names in provider.credentials for name in names}
    assert variables | {provider.base_variable} <= VENDOR_VARIABLES


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
