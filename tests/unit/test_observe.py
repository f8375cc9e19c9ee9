"""Rules, dashboards and docker-compose.observe.yml say what the metrics and the stack have."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cli.commands import COMMANDS
from metrics.gauges import GAUGES
from settings import load
from stack.roles import WORKERS
from tasks.measures import FAMILIES
from tests.observe import dashboards
from tests.observe.panels import BOARDS
from tests.observe.prometheus import program
from tests.unit.compose_file import OBSERVE, REQUIRED, ROOT, MissingVariable, read

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "observe/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
NEEDED = {**REQUIRED, "GRAFANA_ADMIN_PASSWORD": "gr0pass", "LONGTAKE_METRICS_KEY": "lt_key"}
QUERIES = {
    **{f"rule {rule['alert']}": rule["expr"] for rule in RULES},
    **{
        f"{board.uid}, {panel.title}": query
        for board in BOARDS
        for _, panels in board.rows
        for panel in panels
        for query, _ in panel.queries
    },
}
#: Made by worker/numbers.py and api/numbers.py; each with its labels.
OTHERS = {
    "longtake_worker_queue": {"queue"},
    "longtake_worker_start_timestamp_seconds": set[str](),
    "longtake_disk_free_bytes": set[str](),
    "longtake_disk_size_bytes": set[str](),
    "longtake_http_requests_total": {"method", "route", "status"},
    "longtake_http_request_duration_seconds_bucket": {"method", "route", "le"},
}


def known() -> dict[str, set[str]]:
    """All names of samples, with their labels."""
    made = {gauge.name: set(gauge.labels) for gauge in GAUGES} | OTHERS
    for family in FAMILIES:
        endings = ("_bucket", "_count", "_sum") if family.buckets else ("_total",)
        for ending in endings:
            made[family.name + ending] = {*family.labels, *(["le"] if ending == "_bucket" else [])}
    return made


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_metrics_and_labels_that_there_are(name: str) -> None:
    query = QUERIES[name]
    metrics = set(re.findall(r"longtake_\w+", query))
    grouped = {
        label.strip()
        for labels in re.findall(r"(?:by|on) ?\(([^()]*)\)", query)
        for label in labels.split(",")
        if label.strip()
    }
    matched = set(re.findall(r"(\w+)=~?\"|(\w+)!~?\"", query))
    labels = grouped | {one or other for one, other in matched}

    assert metrics or "up{" in query
    assert metrics <= set(known())
    scraped = {"instance", "job"}  # which Prometheus adds
    assert labels <= set().union(*(known()[metric] for metric in metrics)) | scraped


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook_a_severity_and_a_test(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    runbook = ROOT / rule["annotations"]["runbook"]
    tested = (ROOT / "observe/rules_test.yml").read_text()

    assert runbook.read_text().startswith(f"# {name}\n")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["for"]
    assert tested.count(name) >= 2


def test_runbooks_are_of_alerts_and_name_commands_that_there_are() -> None:
    pages = {page.stem: page.read_text() for page in (ROOT / "docs/runbooks").glob("*.md")}

    assert set(pages) == {rule["alert"] for rule in RULES}
    for page in pages.values():
        assert set(re.findall(r"longtake (\w[\w-]*)", page)) <= {*COMMANDS, "providers"}


def test_somebody_watches_every_queue() -> None:
    (rule,) = [rule for rule in RULES if rule["alert"] == "NoWorker"]
    queues = ",".join(listened for listened, _ in WORKERS.values()).split(",")

    assert sorted(re.findall(r'queue="(\w+)"', rule["expr"])) == sorted(queues)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_dashboards_are_what_make_dashboards_writes(board: Any) -> None:
    assert (dashboards.FOLDER / f"{board.uid}.json").read_text() == dashboards.text(board)


def test_grafana_is_given_the_source_that_the_dashboards_ask() -> None:
    folder = ROOT / "observe/grafana/provisioning/datasources"
    (source,) = yaml.safe_load((folder / "prometheus.yml").read_text())["datasources"]

    assert source["uid"] == dashboards.SOURCE


def test_promtool_accepts_the_rules_and_their_tests_pass() -> None:
    promtool = program("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here: the rules' own tests were not run")
    folder = ROOT / "observe"
    for command in (
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
        # The rest of the check needs files that exist only in the container.
        ["check", "config", "--syntax-only", "prometheus.yml"],
    ):
        run = subprocess.run(
            [promtool, *command],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stdout + run.stderr


# docker-compose.observe.yml


BASE, MORE = read(NEEDED), read(NEEDED, OBSERVE)


def test_the_file_obeys_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/unit/compose_spec/compose-spec.json").read_text())

    jsonschema.Draft7Validator(schema).validate(MORE)


@pytest.mark.parametrize("name", ["GRAFANA_ADMIN_PASSWORD", "LONGTAKE_METRICS_KEY"])
def test_nothing_starts_without_the_required_variables(name: str) -> None:
    with pytest.raises(MissingVariable, match=name):
        read({given: value for given, value in NEEDED.items() if given != name}, OBSERVE)


@pytest.mark.parametrize("file", [BASE, MORE], ids=["alone", "observe"])
def test_no_read_only_container_is_given_a_secret_that_compose_would_copy_into_it(
    file: dict[str, Any],
) -> None:
    copied = {name for name, each in file.get("secrets", {}).items() if "file" not in each}

    for service in file["services"].values():
        assert not (service.get("read_only") and copied.intersection(service.get("secrets", ())))


def test_prometheus_is_started_with_the_key_in_a_file_of_its_own(tmp_path: Path) -> None:
    service = MORE["services"]["prometheus"]
    scraped = yaml.safe_load((ROOT / "observe/prometheus.yml").read_text())["scrape_configs"]
    (kept,) = (each["authorization"]["credentials_file"] for each in scraped if "api" in str(each))
    (temporary,) = service["tmpfs"]
    program = tmp_path / "prometheus"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    shell, options, script, *rest = service["entrypoint"]
    assert kept.startswith(f"{temporary}/")

    run = subprocess.run(
        [shell, options, script.replace(kept, str(tmp_path / "key")), *rest, *service["command"]],
        env={**service["environment"], "PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert run.stdout.split() == service["command"]
    assert (tmp_path / "key").read_text() == NEEDED["LONGTAKE_METRICS_KEY"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    service = MORE["services"]["grafana"]
    folder = ROOT / "observe/grafana"
    (given,) = yaml.safe_load((folder / "provisioning/dashboards/longtake.yml").read_text())[
        "providers"
    ]
    mounted = dict(mount.removesuffix(":ro").split(":") for mount in service["volumes"])
    (source,) = (here for here, there in mounted.items() if there == given["options"]["path"])
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert mounted["./observe/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert home.startswith(f"{given['options']['path']}/")
    assert (ROOT / source / home.rpartition("/")[2]).is_file()


def test_every_worker_has_a_port_that_prometheus_asks_and_nobody_else() -> None:
    scraped = yaml.safe_load((ROOT / "observe/prometheus.yml").read_text())["scrape_configs"]
    asked = {
        (name, each["port"])
        for config in scraped
        for each in config["dns_sd_configs"]
        for name in each["names"]
    }
    workers = {
        name
        for name, service in BASE["services"].items()
        if any(str(option).startswith("--queues=") for option in service.get("command", ()))
    }

    assert asked == {("api", 8000), *((name, 9100) for name in workers)}
    for name in workers:
        given = {**BASE["services"][name]["environment"], **MORE["services"][name]["environment"]}
        assert load(given).metrics_port == 9100
        assert MORE["services"][name]["networks"] == ["observe"]
        assert "ports" not in MORE["services"][name]


def test_only_grafana_can_be_reached_and_only_from_this_machine() -> None:
    published = {n: each["ports"] for n, each in MORE["services"].items() if "ports" in each}

    assert published == {"grafana": ["127.0.0.1:3000:3000"]}
    assert MORE["networks"] == {"observe": {"internal": True}}
    assert MORE["services"]["prometheus"]["networks"] == ["observe"]


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_a_container_takes_no_more_than_its_share(name: str) -> None:
    service = MORE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["healthcheck"]["test"]
    for mount in service["volumes"]:
        source, _, place = mount.partition(":")
        assert not source.startswith("./") or ((ROOT / source).exists() and place.endswith(":ro"))
