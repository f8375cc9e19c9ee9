"""Secrets, keys, signed links and prompts are planted, and looked for in all that we write."""

import json
from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any

import pytest
from celery import Celery

from tests.faults.harness.lanes import asked_of
from tests.faults.harness.listening import decoded, inspected, overhearing, watching_like_flower
from tests.faults.harness.receiver import Mood, secret_of
from tests.faults.harness.runs import TO_SETTLE
from tests.faults.harness.stack import Crew, FaultStack, fault_stack
from tests.faults.harness.wishes import fresh_name

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
        words = [*self.secrets, *([self.prompt] if prompt else []), "signature="]
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
                body = canaries.body(house, provider, script)
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
