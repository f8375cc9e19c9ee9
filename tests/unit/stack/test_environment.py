"""What a simulated stack tells its processes, and whose credentials it leaves alone."""

from pathlib import Path

from providers.registry import accounts
from settings import load
from stack.environment import StackVariables, child_environment, simulated, stack_variables
from stack.folder import Folder
from stack.ports import Ports

ANSWER = {
    "RUNWAYML_API_SECRET": "key_simulated",
    "RUNWAYML_BASE_URL": "http://127.0.0.1:1/runway",
    "LUMA_AGENTS_API_KEY": "luma_simulated",
    "LUMA_BASE_URL": "http://127.0.0.1:1/luma-agents/v1",
    "PATH": "/somewhere/else",
}


def known(tmp_path: Path, **given: str) -> tuple[StackVariables, dict[str, str]]:
    settings = load({"LONGTAKE_DATA_DIR": str(tmp_path)} | given)
    before = stack_variables(
        settings,
        Folder(tmp_path),
        ports=Ports(api=1, flower=2, simulator=3),
        database_url="postgresql://x/y",
        broker_url="redis://127.0.0.1:4/0",
    )
    return before, simulated(before, settings, ANSWER).variables()


def test_providers_without_credentials_are_pointed_at_the_simulator(tmp_path: Path) -> None:
    _, variables = known(tmp_path)

    assert variables["RUNWAYML_BASE_URL"] == "http://127.0.0.1:1/runway"
    assert variables["LUMA_AGENTS_API_KEY"] == "luma_simulated"


def test_a_provider_with_credentials_keeps_them_and_its_address(tmp_path: Path) -> None:
    _, variables = known(tmp_path, RUNWAYML_API_SECRET="key_real")

    assert variables["RUNWAYML_API_SECRET"] == "key_real"
    assert "RUNWAYML_BASE_URL" not in variables
    assert variables["LUMA_AGENTS_API_KEY"] == "luma_simulated"


def test_credentials_of_a_named_account_are_not_sent_to_the_simulator(tmp_path: Path) -> None:
    _, variables = known(tmp_path, RUNWAYML_API_SECRET__TEAM="key_real")

    found = accounts(load({"LONGTAKE_DATA_DIR": str(tmp_path)} | variables))
    assert found["runway:team"].base_url == "https://api.dev.runwayml.com"
    assert "runway" not in found
    assert variables["LUMA_AGENTS_API_KEY"] == "luma_simulated"


def test_only_variables_of_providers_are_taken_from_the_simulator(tmp_path: Path) -> None:
    _, variables = known(tmp_path)

    assert "PATH" not in variables


def test_loopback_joins_the_networks_that_are_let_through(tmp_path: Path) -> None:
    _, variables = known(tmp_path, LONGTAKE_ALLOW_PRIVATE_HOSTS="10.0.0.0/8")

    assert variables["LONGTAKE_ALLOW_PRIVATE_HOSTS"] == "10.0.0.0/8,127.0.0.0/8,::1/128"


def test_a_stack_that_is_not_simulated_lets_nothing_through(tmp_path: Path) -> None:
    before, _ = known(tmp_path)

    assert "LONGTAKE_ALLOW_PRIVATE_HOSTS" not in before.variables()


def test_settings_read_what_the_processes_are_told(tmp_path: Path) -> None:
    _, variables = known(tmp_path)

    found = load(
        child_environment(
            {"HOME": "/home/me"}, StackVariables(own={}, vendor=variables), simulate=True
        )
    )
    assert found.api_port == 1
    assert found.poll_floor_seconds == 0.5
    assert found.require_database() == "postgresql://x/y"


def test_keys_of_the_operator_are_passed_on_and_none_is_made(tmp_path: Path) -> None:
    _, variables = known(tmp_path, LONGTAKE_SECRET_KEYS="a" * 32 + "," + "b" * 32)

    assert variables["LONGTAKE_SECRET_KEYS"] == "a" * 32 + "," + "b" * 32
    assert not (tmp_path / "secret-keys").exists()
