"""The accounts that the environment gives, and what is missing where it gives none."""

import pytest
from pydantic import SecretStr

from providers import registry
from providers.base import Provider
from providers.registry import PROVIDERS, accounts, missing_variables, vendor_variables
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
