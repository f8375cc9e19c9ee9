"""Flower beside a real worker and beat: it shows work, changes nothing, and tells no stranger."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from celery import Celery
from flower.urls import handlers
from redis import Redis

from models.revision import newest
from settings import Settings
from stack.ports import Ports
from stack.roles import ours
from tasks.workers import call
from tests.conftest import Simulator
from tests.integration.broker.test_proof_intake import CANARY, ROOT, House, came_true
from worker.flower import is_ours, masked

REQUEST = {"prompt": f"a quiet sea, {CANARY}", "model": "gen4.5", "webhook_secret": CANARY}
TICKS = {"video.tick", "video.learn", "video.mark", "video.look_around", "video.prune"}


@pytest.fixture
def house(database_url: str, valkey_url: str, tmp_path: Path) -> House:
    return House(database_url, valkey_url, tmp_path)


@contextmanager
def running(house: House, name: str, port: int = 0, **variables: str) -> Iterator[None]:
    """A process of the embedded stack, by the command that the stack starts it with."""
    settings = Settings(database_url=None, broker_url=house.valkey_url, data_dir=house.log.parent)
    roles = {role.name: role for role in ours(settings, Ports(api=0, flower=port, simulator=0))}
    with house.log.with_name(f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            roles[name].command,
            cwd=ROOT,
            env={**house.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def flower(house: House, **variables: str) -> Iterator[httpx.Client]:
    port = free_port()
    with running(house, "flower", port, **variables), httpx.Client(trust_env=False) as client:
        client.base_url = httpx.URL(f"http://127.0.0.1:{port}")

        def answers() -> bool:
            try:
                return client.get("/healthcheck").is_success
            except httpx.TransportError:
                return False

        assert came_true(answers, 60)
        yield client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def counted(house: House) -> dict[str, int]:
    """How many tasks of each name the worker has begun."""
    with Celery("counting", broker=house.valkey_url, set_as_current=False) as app:
        stats = app.control.inspect(timeout=2).stats() or {}
    return {name: n for each in stats.values() for name, n in each["total"].items()}


def test_workers_say_what_they_are_when_they_are_called(house: House) -> None:
    with (
        house.worker("intake,control"),
        Celery("calling", broker=house.valkey_url, set_as_current=False) as app,
    ):
        assert came_true(lambda: bool(call(app).workers))
        roll = call(app)

    (worker,) = roll.workers
    assert worker.queues == ("control", "intake")
    assert worker.schema == newest()
    assert (roll.silent, roll.failure) == ([], None)
    assert roll.messages["poll"] == 0


def test_it_lists_work_and_no_ticks(house: House) -> None:
    with (
        house.worker("intake,control"),
        flower(house, FLOWER_UNAUTHENTICATED_API="true") as client,
        running(house, "beat"),
    ):
        assert came_true(lambda: bool(client.get("/api/workers").json()))
        house.send(request={"prompt": "a fox", "model": "gen4.5"})

        def listed() -> set[str]:
            return {task["name"] for task in client.get("/api/tasks").json().values()}

        assert came_true(lambda: "video.enqueue" in listed())
        assert came_true(lambda: counted(house).get("video.tick", 0) > 5), "nothing ticks"
        assert "video.submit" in listed(), "the hints of work are not listed"
        assert not TICKS & listed()


def jobs_in(client: httpx.Client) -> dict[str, dict[str, object]]:
    tasks: dict[str, dict[str, object]] = client.get("/api/tasks").json()
    return {id_: each for id_, each in tasks.items() if each["name"] == "video.generation"}


def test_a_job_is_a_task_of_its_own_from_its_submission_to_its_end(
    house: House, simulator: Simulator
) -> None:
    house.environment |= dict(simulator.env) | {
        "LONGTAKE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
        "LONGTAKE_POLL_FLOOR_SECONDS": "0.05",
    }
    queues = "intake,submit,poll,store,control"
    with (
        house.worker(queues),
        flower(house, FLOWER_UNAUTHENTICATED_API="true") as client,
        running(house, "beat"),
    ):
        assert came_true(lambda: bool(client.get("/api/workers").json()))
        (worker,) = client.get("/api/workers").json()
        house.send(request={"prompt": f"a quiet sea, {CANARY}", "model": "gen4.5"})

        def states() -> list[object]:
            return [each["state"] for each in jobs_in(client).values()]

        assert came_true(lambda: states() == ["SUCCESS"], 60), states()
        ((id_, job),) = jobs_in(client).items()
        pages = [client.get("/api/tasks").text, client.get(f"/task/{id_}").text]

    (row,) = house.rows("SELECT id, state FROM job")
    assert row == {"id": id_, "state": "complete"}
    assert job["worker"] == worker
    assert job["kwargs"] == "{'model': 'gen4.5', 'tenant': 'default'}"
    assert isinstance(job["runtime"], float)
    assert 0 < job["runtime"] < 120
    assert {"sent", "received", "started", "succeeded"} <= {k for k, v in job.items() if v}
    assert all(CANARY not in page for page in pages)


def test_a_setting_keeps_jobs_from_flower(house: House) -> None:
    house.environment["LONGTAKE_FLOWER_JOBS"] = "false"
    with house.worker(), flower(house, FLOWER_UNAUTHENTICATED_API="true") as client:
        assert came_true(lambda: bool(client.get("/api/workers").json()))
        house.send(request={"prompt": "a fox", "model": "gen4.5"})
        assert came_true(lambda: "SUCCESS" in client.get("/api/tasks").text)
        house.send(request={"prompt": "a fox", "model": "gen4.5"})
        assert came_true(lambda: client.get("/api/tasks").text.count("SUCCESS") == 2)

        assert jobs_in(client) == {}


def test_every_process_writes_lines_of_one_shape(house: House) -> None:
    ready = {
        # Flower tells of workers that it can't ask: there are none at first.
        "flower": "Inspect method stats failed",
        "beat": "beat: Starting",
        "worker-submit": "worker.ready",
        "api": "api.starting",
    }
    logs = {name: house.log.with_name(f"{name}.log") for name in ready}
    with contextlib.ExitStack() as exits:
        exits.enter_context(flower(house))
        assert came_true(lambda: ready["flower"] in logs["flower"].read_text(), 60)
        for name in list(ready)[1:]:
            exits.enter_context(running(house, name))
        for name, word in ready.items():
            assert came_true(lambda n=name, w=word: w in logs[n].read_text(), 60), name  # type: ignore[misc]

    for name, log in logs.items():
        for line in log.read_text().splitlines():
            assert {"timestamp", "level", "event", "logger"} <= json.loads(line).keys(), name


def test_a_sender_that_tells_everything_is_not_quoted(house: House) -> None:
    with house.worker(), flower(house, FLOWER_UNAUTHENTICATED_API="true") as client:
        assert came_true(lambda: bool(client.get("/api/workers").json()))
        with Celery("bare", broker=house.valkey_url, set_as_current=False) as sender:
            sender.conf.task_send_sent_event = True
            sent = sender.send_task("video.enqueue", [REQUEST, "order-1"], queue="intake")
            # Nobody takes this one, so nothing replaces what its sender said.
            left = sender.send_task("video.enqueue", kwargs={"request": REQUEST}, queue="away")

        def states() -> dict[str, str]:
            return {id_: each["state"] for id_, each in client.get("/api/tasks").json().items()}

        assert came_true(lambda: states() == {sent.id: "SUCCESS", left.id: "PENDING"})
        table = {"draw": 1, "start": 0, "length": 10, "order[0][column]": 0}
        pages = [
            client.get("/api/tasks").text,
            client.post("/tasks/datatable", data=table).text,
            *(client.get(f"/task/{id_}").text for id_ in (sent.id, left.id)),
            client.get("/metrics").text,
            client.get("/broker").text,
            *(client.get(f"/worker/{name}").text for name in client.get("/api/workers").json()),
        ]

    assert all(CANARY not in page for page in pages)
    assert left.id in pages[1]
    assert "'request': '(hidden)'" in json.loads(pages[0])[left.id]["kwargs"]


@pytest.mark.parametrize(
    "variables",
    [{"FLOWER_UNAUTHENTICATED_API": "true"}, {"FLOWER_BASIC_AUTH": "me:secret"}],
    ids=["open", "with a login"],
)
def test_no_route_changes_anything_and_no_other_page_reads(
    house: House, variables: dict[str, str]
) -> None:
    page = {"Origin": "https://evil.example"}
    with flower(house, **variables) as client:
        if "FLOWER_BASIC_AUTH" in variables:
            client.auth = httpx.BasicAuth("me", "secret")
        for route in handlers:
            pattern = route.regex.pattern if hasattr(route, "regex") else route[0]
            path = pattern.rstrip("$").replace("(.+)", "video.enqueue").replace("(.*)", "x")
            if path in {".*", "/login/?", "/tasks/datatable"}:
                continue
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                body = {"args": [REQUEST], "workername": "celery@vm"}
                answer = client.request(method, path, json=body)
                assert answer.status_code == 403, (method, path)
            for method in ("GET", "OPTIONS", "POST"):
                answer = client.request(method, path, headers=page)
                allowed = [name for name in answer.headers if name.startswith("access-control-")]
                assert not allowed, (method, path)
                assert answer.headers["x-frame-options"] == "DENY"
        with Redis.from_url(house.valkey_url) as valkey:
            assert not valkey.llen("intake")


def test_without_a_login_it_answers_under_no_foreign_name(house: House) -> None:
    with flower(house, FLOWER_UNAUTHENTICATED_API="true") as client:
        for path in ("/", "/tasks", "/api/tasks", "/tasks/datatable"):
            answer = client.get(path, headers={"Host": "rebound.example:5555"})
            assert answer.status_code == 403, path
            assert "FLOWER_BASIC_AUTH" in answer.text
        assert client.get("/api/tasks", headers={"Host": "localhost:5555"}).is_success


def test_with_a_login_it_answers_under_any_name_to_those_who_know_it(house: House) -> None:
    host = {"Host": "flower.example.com"}
    with flower(house, FLOWER_BASIC_AUTH="me:secret") as client:
        assert client.get("/tasks", headers=host).status_code == 401
        for path in ("/api/tasks", "/metrics"):
            assert client.get(path, headers=host).status_code == 401
            assert client.get(path, headers=host, auth=("me", "wrong")).status_code == 401
            assert client.get(path, headers=host, auth=("me", "secret")).is_success
        assert client.get("/healthcheck", headers=host).is_success


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("10.0.0.7", True),
        ("", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_a_name_that_a_name_server_gives_is_not_ours(*, host: str, is_own: bool) -> None:
    assert is_ours(host) is is_own


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ("{'lane': 'runway'}", "{'lane': 'runway'}"),
        ("{'model': 'gen4.5', 'job_id': 'a'}", "{'model': 'gen4.5', 'job_id': 'a'}"),
        (repr({"request": REQUEST, "job_id": "a"}), "{'request': '(hidden)', 'job_id': 'a'}"),
        (repr({"lane": REQUEST}), "{'lane': '(hidden)'}"),
        (f"{{'request': {{'prompt': '{CANARY}...", "(hidden)"),
        (CANARY, "(hidden)"),
        ("(" * 10_000, "(hidden)"),
        (None, "(hidden)"),
    ],
)
def test_of_described_arguments_no_content_is_kept(kwargs: object, told: str) -> None:
    event = {"type": "task-sent", "uuid": "t", "args": f"('{CANARY}',)", "kwargs": kwargs}

    assert masked(event) == event | {"args": "(hidden)", "kwargs": told}


@pytest.mark.parametrize("args", [["a"], {"a": 1}, 5, None, f"('{CANARY}',)"])
def test_arguments_that_are_no_text_are_hidden_and_stop_no_listener(args: object) -> None:
    event = {"type": "task-received", "uuid": "t", "args": args}

    assert masked(event) == event | {"args": "(hidden)"}


@pytest.mark.parametrize("args", ["()", "[]"])
def test_that_there_are_no_arguments_is_told(args: str) -> None:
    assert masked({"type": "task-received", "args": args})["args"] == args


def test_of_how_a_task_ended_no_word_is_kept() -> None:
    event = {"type": "task-failed", "uuid": "t", "runtime": 1.5}
    words = dict.fromkeys(("result", "exception", "traceback"), f"ValueError('{CANARY}')")

    assert masked(event | words) == event | dict.fromkeys(words, "(hidden)")
