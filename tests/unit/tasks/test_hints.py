"""Hints: one a lane is on its way, and a Valkey that is away stops no hint of another broker."""

import threading
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import pytest
from kombu.exceptions import OperationalError

from models.verbs import What
from settings import Settings, load
from tasks import hints

LEASE = 30
POLL = "longtake:hint:poll:runway"


def settings(**environment: str) -> Settings:
    given = {
        "LONGTAKE_DATABASE_URL": "postgresql://nowhere",
        "LONGTAKE_BROKER_URL": "redis://127.0.0.1:1",
        "LONGTAKE_SECRET_KEYS": "a-key-of-a-test" * 3,
        "LONGTAKE_LEASE_SECONDS": str(LEASE),
    }
    return load(given | environment)


@dataclass(slots=True)
class Broker:
    """Takes messages in place of Celery's app, or fails."""

    sent: list[tuple[str, str | None, str]] = field(default_factory=list)
    error: Exception | None = None

    def send_task(self, name: str, *, kwargs: dict[str, Any], queue: str, retry: bool) -> None:
        assert not retry
        if self.error is not None:
            raise self.error
        self.sent.append((name, kwargs["lane"], queue))


@dataclass(slots=True)
class World:
    """What hints meet: the limits Valkey, the broker and this process's clock."""

    server: fakeredis.FakeServer
    valkey: fakeredis.FakeStrictRedis
    broker: Broker
    now: float = 1000.0


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    server = fakeredis.FakeServer()
    made = World(server, fakeredis.FakeStrictRedis(server=server), Broker())
    monkeypatch.setattr(hints, "_client", lambda: made.valkey)
    monkeypatch.setattr(hints, "_keys_paused_until", 0.0)
    monkeypatch.setattr(hints, "current", settings)
    monkeypatch.setattr(hints, "app", made.broker)
    monkeypatch.setattr("tasks.hints.time.monotonic", lambda: made.now)
    return made


def has_a_valkey_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings(
        LONGTAKE_BROKER_URL="amqp://127.0.0.1:1", LONGTAKE_VALKEY_URL="redis://127.0.0.1:1"
    )
    monkeypatch.setattr(hints, "current", lambda: own)


def test_one_hint_a_lane_is_on_its_way_until_its_pump_starts(world: World) -> None:
    assert [hints.send(What.POLL, "runway") for _ in range(3)] == [True, False, False]
    assert hints.send(What.POLL, "luma")
    assert hints.send(What.CANCEL, "runway")
    hints.arrived(What.POLL, "runway")
    assert hints.send(What.POLL, "runway")

    assert world.broker.sent == [
        ("video.poll", "runway", "poll"),
        ("video.poll", "luma", "poll"),
        ("video.cancel", "runway", "control"),
        ("video.poll", "runway", "poll"),
    ]


def test_a_hint_for_every_lane_is_one_of_its_own(world: World) -> None:
    assert hints.send(What.DELIVER, None)
    assert hints.send(What.DELIVER, "203.0.114.1:443")
    assert not hints.send(What.DELIVER, None)


def test_a_hint_that_is_lost_with_its_worker_costs_a_lease(world: World) -> None:
    hints.send(What.POLL, "runway")

    assert 0 < world.valkey.ttl(POLL) <= LEASE


def test_a_hint_that_the_broker_did_not_take_keeps_no_other_one_waiting(world: World) -> None:
    world.broker.error = OperationalError("the broker is away")
    assert not hints.send(What.POLL, "runway")
    assert not world.valkey.exists(POLL)

    world.broker.error = None
    assert hints.send(What.POLL, "runway")


def test_while_the_broker_is_the_valkey_that_is_away_nothing_is_sent(world: World) -> None:
    world.server.connected = False
    assert not hints.send(What.POLL, "runway")
    hints.arrived(What.POLL, "runway")
    assert world.broker.sent == []

    # Nothing waits for a pause: the next hint may go as soon as the broker is back.
    world.server.connected = True
    assert hints.send(What.POLL, "runway")


def test_a_valkey_of_its_own_that_is_away_stops_no_hint_and_is_not_asked_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_a_valkey_of_its_own(monkeypatch)
    world.server.connected = False

    # A doubled hint is better than none.
    assert [hints.send(What.POLL, "runway") for _ in range(2)] == [True, True]

    # Back already, but not asked before the pause is over: no key is set or deleted.
    world.server.connected = True
    world.now += hints.KEY_PAUSE - 0.1
    assert hints.send(What.POLL, "runway")
    assert not world.valkey.exists(POLL)
    world.now += 0.1
    assert [hints.send(What.POLL, "runway") for _ in range(2)] == [True, False]


def test_a_key_that_can_not_be_deleted_begins_the_pause_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_a_valkey_of_its_own(monkeypatch)
    assert hints.send(What.POLL, "runway")
    world.server.connected = False
    hints.arrived(What.POLL, "runway")

    # The key is still there: without the pause, this hint would not go out.
    world.server.connected = True
    assert hints.send(What.POLL, "runway")
    world.now += hints.KEY_PAUSE
    assert not hints.send(What.POLL, "runway")


def test_without_a_valkey_every_hint_goes_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "_client", lambda: None)

    assert [hints.send(What.POLL, "runway") for _ in range(2)] == [True, True]


@dataclass(slots=True)
class SlowBroker:
    """Holds the first message until it is let go."""

    sent: list[str | None] = field(default_factory=list)
    has_begun: threading.Event = field(default_factory=threading.Event)
    may_go: threading.Event = field(default_factory=threading.Event)

    def send(self, what: What, lane: str | None) -> bool:
        del what
        self.sent.append(lane)
        self.has_begun.set()
        return self.may_go.wait(10)


def test_a_lanes_hint_waits_behind_one_of_each_other_lane_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a broker that is slow, and a tenant whose every job asks for a hint of one lane
    broker = SlowBroker()
    monkeypatch.setattr(hints, "send", broker.send)
    hinter = hints.Hinter()
    hinter.nudge(What.SUBMIT, "runway")
    assert broker.has_begun.wait(10)
    for _ in range(2_000):
        hinter.nudge(What.SUBMIT, "runway")

    # When another lane asks for its own
    hinter.nudge(What.SUBMIT, "luma")
    broker.may_go.set()
    hinter.close()

    # Then it is not lost, and goes after one: what came while the first was being sent asks anew
    assert broker.sent == ["runway", "runway", "luma"]
