"""docker-compose.yml obeys the specification, has no default password and runs the same set."""

import json
import math
from typing import Any

import jsonschema
import pytest

from providers.registry import PROVIDERS
from settings import load
from stack.grace import stop_grace
from stack.roles import WORKERS
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


def test_the_image_gets_every_package_that_production_needs() -> None:
    shipped = {
        line.removeprefix("!").strip()
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert packages - {"benchmarks", "client"} <= shipped
    assert all((ROOT / name).exists() for name in shipped)
