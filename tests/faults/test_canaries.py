"""Secrets, keys, signed links and prompts are planted, and looked for in all that we write."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import httpx
import pytest
from celery import Celery
from redis import Redis

from longtake.celery import enqueue
from longtake.sealing import KEY_PREFIX
from tests.faults.harness.judge import SYNCHRONOUS
from tests.faults.harness.lanes import asked_of
from tests.faults.harness.listening import decoded, inspected, overhearing, watching_like_flower
from tests.faults.harness.processes import Process
from tests.faults.harness.receiver import Mood, secret_of
from tests.faults.harness.runs import TO_SETTLE
from tests.faults.harness.stack import Crew, FaultStack, fault_stack
from tests.faults.harness.upstreams import free_port
from tests.faults.harness.wishes import fresh_name
from tests.integration.broker.test_masked import MESSAGES
from tests.integration.broker.test_proof_intake import CANARY

#: Every table; bytes are sealed, and shown in hex.
_TABLES = (
    *("tenant", "api_key", "attempt", "output", "event", "delivery", "delivery_try"),
    *("idempotency", "submission", "duration", "due"),
)
#: What makes vendors and receivers say something, besides a job that goes well.
_TROUBLE: tuple[Mapping[str, Any], ...] = (
    {"on": "submit", "do": "status", "status": 400},
    {"on": "submit", "do": "status", "status": 429, "retry_after": 0},
    {"on": "submit", "do": "garbage"},
    {"on": "poll", "do": "status", "status": 500},
    {"on": "poll", "do": "garbage"},
    {"on": "download", "do": "drop_before_accept"},
)


class Canaries:
    """Words that nothing but a caller, a vendor or a receiver may ever say."""

    def __init__(self, house: FaultStack) -> None:
        self.name = fresh_name()
        self.prompt = f"a canary sings {token_hex(8)}, {self.name}"
        self.token = f"token-{token_hex(12)}"
        self.secret = secret_of(self.name)
        given = house.simulator.env.items()
        self.keys = [
            value
            for name, value in given
            if not name.endswith(("_URL", "_PROJECT", "_LOCATION")) and len(value) > 8
        ]

    @property
    def secrets(self) -> list[str]:
        return [self.token, self.secret, self.secret.removeprefix("whsec_"), *self.keys]

    def body(self, house: FaultStack, provider: str, script: str = "") -> dict[str, Any]:
        return {
            "prompt": f"{script} {self.prompt}".strip(),
            **asked_of(provider),
            "webhook_url": f"{house.receiver.url(self.name)}?token={self.token}",
            "webhook_secret": self.secret,
        }

    def found_in(self, text: str, *, prompt: bool = True) -> set[str]:
        """The canaries that a text tells, in clear or in hex, and signatures of links."""
        words = [*self.secrets, *([self.prompt] if prompt else []), "signature=", CANARY]
        return {word for word in words if word in text or word.encode().hex() in text}


@pytest.fixture
def loud_house() -> Iterator[FaultStack]:
    """One that tells all that it ever tells, and of which nobody else judges the rows."""
    with fault_stack(Crew(variables={"LONGTAKE_LOG_LEVEL": "DEBUG"})) as house:
        yield house


@pytest.mark.chaos
def test_nothing_that_we_write_tells_a_secret_or_a_prompt(loud_house: FaultStack) -> None:
    # Given jobs of which some go well and others meet every kind of trouble
    house, canaries = loud_house, Canaries(loud_house)
    with (
        overhearing(house.broker.url) as heard,
        watching_like_flower(house.broker.url) as events,
        house.client() as client,
    ):
        house.receiver.feel(Mood.FAILING)
        jobs = []
        for provider in house.providers:
            faults = [{"provider": provider, **fault} for fault in _TROUBLE]
            house.simulator.faults(faults)
            for number, script in enumerate(("", "[sim:moderate]", "[sim:expired]", "")):
                # A synchronous provider's only link would be dead until the job's deadline.
                is_endless = script == "[sim:expired]" and provider in SYNCHRONOUS
                body = canaries.body(house, provider, "" if is_endless else script)
                key = f"{canaries.name} {provider} {number}"
                jobs.append(client.submit(body, key=key))

        # When all has ended, a receiver's refusals included
        assert house.until("SELECT count(*) > 0 FROM delivery_try", within=TO_SETTLE)
        house.receiver.feel(Mood.WELL)
        assert house.until_final(jobs, within=300)
        running = inspected(house.broker.url)

    # Then nobody told
    logs = "\n".join(process.said for process in house.processes)
    assert canaries.found_in(logs) == set()
    assert canaries.found_in(decoded("\n".join(heard))) == set()
    assert canaries.found_in(json.dumps(events, default=repr)) == set()
    assert canaries.found_in(running) == set()
    for table in _TABLES:
        rows = house.rows(f"SELECT row_to_json({table})::text AS row FROM {table}")  # noqa: S608
        assert canaries.found_in("\n".join(row["row"] for row in rows)) == set(), table
    rows = house.rows("SELECT row_to_json(job)::text AS row, error::text FROM job")
    assert canaries.found_in("\n".join(row["row"] for row in rows), prompt=False) == set()
    assert canaries.found_in("\n".join(row["error"] or "" for row in rows)) == set()
    assert len(heard) > 100, "the listener heard nothing"
    assert {event["type"] for event in events} >= {"task-received", "task-succeeded"}


@pytest.mark.chaos
def test_a_request_that_comes_over_the_broker_is_shown_to_nobody(loud_house: FaultStack) -> None:
    """Even though its sender described it to the last word."""
    house, canaries = loud_house, Canaries(loud_house)
    good, bad = f"job_vid_{token_hex(8)}", f"job_vid_{token_hex(8)}"
    with watching_like_flower(house.broker.url) as events:
        with Celery("sender", broker=house.broker.url, set_as_current=False) as sender:
            for job, extra in ((good, {}), (good, {}), (bad, {"priority": "absurd"})):
                request = canaries.body(house, "runway") | extra
                sender.send_task(
                    "video.enqueue", kwargs={"request": request, "job_id": job}, queue="intake"
                )
        assert house.until("SELECT count(*) = 1 FROM job WHERE id = %s", good, within=30)
        assert house.until_final([good], within=30)
        running = inspected(house.broker.url)

    logs = "\n".join(process.said for process in house.processes)
    assert canaries.found_in(logs) == set()
    assert canaries.found_in(json.dumps(events, default=repr)) == set()
    assert canaries.found_in(running) == set()
    received = [event for event in events if event["type"] == "task-received"]
    assert any(good in event["kwargs"] for event in received)
    assert house.rows("SELECT id FROM job WHERE id = %s", bad) == []


@contextmanager
def flower(house: FaultStack) -> Iterator[httpx.Client]:
    """Flower of this house, whose log is one of its logs."""
    port = free_port()
    address = ("--address=127.0.0.1", f"--port={port}", "--persistent=False")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        def is_ready(_: Process) -> bool:
            try:
                return client.get("/healthcheck").is_success
            except httpx.TransportError:
                return False

        process = Process(
            "flower",
            (*(sys.executable, "-P", "-m", "celery", "-A", "worker", "flower"), *address),
            environment={**house.environment, "FLOWER_UNAUTHENTICATED_API": "true"},
            logs=house.logs,
            is_ready=is_ready,
        )
        process.start()
        try:
            process.ready()
            yield client
        finally:
            process.kill()


def shown_by(client: httpx.Client) -> str:
    """Every page of Flower, and every answer of its API."""
    workers, tasks = client.get("/api/workers").json(), client.get("/api/tasks").json()
    paths = [
        *("/", "/tasks", "/broker", "/metrics", "/api/workers?refresh=1", "/api/tasks"),
        *("/api/task/types", "/api/queues/length"),
        *(f"/worker/{name}" for name in workers),
        *(f"{page}/{id_}" for id_ in tasks for page in ("/task", "/api/task/info")),
    ]
    table = {"draw": 1, "start": 0, "length": 1000, "order[0][column]": 0}
    texts = [client.get(path).text for path in paths]
    return "\n".join([*texts, client.post("/tasks/datatable", data=table).text])


def kept_by(broker_url: str) -> str:
    """Every key of the Valkey and its value, and what messages say in their bodies."""
    with Redis.from_url(broker_url, decode_responses=True) as valkey:
        found = [f"{key} {_value(valkey, key)}" for key in valkey.scan_iter()]
    return decoded("\n".join(found))


def _value(valkey: "Redis", key: str) -> object:
    match valkey.type(key):
        case "string":
            return valkey.get(key)
        case "list":
            return valkey.lrange(key, 0, -1)
        case "hash":
            return valkey.hgetall(key)
        case "set":
            return valkey.smembers(key)
        case "zset":
            return valkey.zrange(key, 0, -1)
        case other:
            return other


#: Messages that become jobs and whose prompts are stored.
GOOD = {"the first protocol", "a request with other work behind it"}


def send_bad_messages(house: FaultStack, canaries: Canaries) -> None:
    """All that a sender can get wrong, with every secret in it."""
    good = canaries.body(house, "runway")
    hostile = {
        "webhook_url": f"https://me:{canaries.token}@hooks.example/{canaries.token}",
        "image": f"http://me:{canaries.token}@127.0.0.1/{canaries.token}?token={canaries.token}",
        "priority": canaries.prompt,
        "metadata": canaries.token,
    }
    with Celery("sender", broker=house.broker.url, set_as_current=False) as sender:
        sender.conf.task_send_sent_event = True
        for name, value in hostile.items():
            given = {"request": good | {name: value}}
            sender.send_task("video.enqueue", kwargs=given, queue="intake")
        sender.send_task("video.enqueue", [good | {"priority": "absurd"}], queue="intake")
        lines = {"requests": [good, good | {"priority": canaries.prompt}], "batch_id": "lines"}
        sender.send_task("video.enqueue_batch", kwargs=lines, queue="intake")
        for task in ("video.enqueu", "video.submit", "celery.chain"):
            sender.send_task(task, [canaries.prompt], {"request": good}, queue="intake")
    with Redis.from_url(house.broker.url) as valkey:
        for name, message in MESSAGES.items():
            if name not in GOOD:
                valkey.lpush("intake", json.dumps(message))


@pytest.mark.chaos
def test_neither_bad_messages_nor_failing_far_sides_make_anybody_tell(
    loud_house: FaultStack,
) -> None:
    house, canaries = loud_house, Canaries(loud_house)
    with (
        flower(house) as page,
        watching_like_flower(house.broker.url) as events,
        house.client() as client,
    ):
        # Given a receiver and a download that fail, and messages, of which two can be accepted
        house.receiver.feel(Mood.DEAD)
        house.simulator.faults(
            [{"provider": "runway", "on": "download", "do": "drop_before_accept"}] * 3
        )
        jobs = [client.submit(canaries.body(house, "runway"), key=canaries.name)]
        send_bad_messages(house, canaries)
        key = house.longtake("intake", "key")
        assert key.startswith(KEY_PREFIX)
        for number, sealing_key in enumerate((None, key)):
            body, id_ = canaries.body(house, "runway"), f"{canaries.name}-{number}"
            jobs.append(enqueue(house.broker.url, body, job_id=id_, sealing_key=sealing_key))

        # When all of it has happened
        told = "SELECT count(*) > 0 FROM delivery_try WHERE error IS NOT NULL"
        assert house.until(told, within=TO_SETTLE)
        assert house.until("SELECT count(*) >= 5 FROM intake_failure", within=60)
        house.receiver.feel(Mood.WELL)
        assert house.until("SELECT count(*) = 3 FROM job WHERE id = ANY(%s)", jobs, within=60)
        assert house.until_final(jobs, within=300)
        shown, running = shown_by(page), inspected(house.broker.url)
        metrics = httpx.get(f"{house.url}/metrics", trust_env=False).text

    # Then nobody told, and of addresses no path was told
    ours = "\n".join(process.said for process in house.processes)
    ours += (house.logs / "flower.log").read_text()
    assert canaries.found_in(ours) == set()
    assert canaries.found_in(shown) == set()
    assert canaries.found_in(running) == set()
    assert canaries.found_in(metrics) == set()
    assert canaries.found_in(kept_by(house.broker.url)) == set()
    told_by_workers = [event for event in events if event["type"] != "task-sent"]
    assert canaries.found_in(json.dumps(told_by_workers, default=repr)) == set()
    assert "store.failed" in ours
    assert "broker.unknown_task" in ours
    tables = house.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for table in (row["tablename"] for row in tables):
        rows = house.rows(f"SELECT to_jsonb(t)::text AS row FROM {table} AS t")  # noqa: S608
        text = "\n".join(row["row"] for row in rows)
        assert canaries.found_in(text, prompt=table != "job") == set(), table
        if table != "job":
            assert f"/hooks/{canaries.name}" not in text, table
    for text in (ours, shown):
        assert f"/hooks/{canaries.name}" not in text
        assert f"{house.simulator.url}/" not in text
