"""Budgets before authentication: invalid keys by address, and requests in progress."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.admission import Admission, Admitted, Gatekeeper, InvalidKeys, was_proved
from api.auth import Keyring
from api.errors import Renderers
from api.limits import Limits, limits_of
from models.database import Database
from models.failure import RequestRefused
from models.keys import new_plain_key
from settings import SettingsError, load

pytestmark = pytest.mark.anyio


def admission(*, requests: int = 10, of_address: int = 3, per_minute: int = 2) -> Admission:
    limits = Limits(
        connections=20, requests=requests, of_address=of_address, streams=4, streams_of_tenant=2
    )
    return Admission(limits, proxies=(), invalid_keys=InvalidKeys(per_minute, clock=lambda: 0.0))


def test_invalid_keys_are_counted_by_address_and_forgotten_with_time() -> None:
    now = 100.0
    wrong = InvalidKeys(6, clock=lambda: now)

    assert [wrong.count("a") for _ in range(7)] == [0.0] * 6 + [10.0]
    assert wrong.count("b") == 0.0
    now += 9.0
    assert wrong.count("a") == pytest.approx(1.0)
    now += 1.0
    assert wrong.count("a") == 0.0
    assert wrong.count("a") == pytest.approx(10.0)


def test_addresses_that_were_wrong_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.admission._MOST_ADDRESSES", 3)
    wrong = InvalidKeys(1, clock=lambda: 0.0)
    for address in ("a", "b", "c", "d"):
        wrong.count(address)

    assert wrong.count("d") > 0
    assert wrong.count("a") == 0.0


def test_an_address_has_its_share_of_requests_until_its_keys_are_known() -> None:
    gate = admission()
    here = [Admitted(gate, "a", is_counted=True) for _ in range(3)]

    refusal = gate.refusal("a")
    assert refusal is not None
    assert (refusal.type, refusal.code) == ("rate_limited", "too_many_requests")
    assert refusal.retry_after
    assert gate.refusal("b") is None
    here[0].known()
    assert gate.refusal("a") is None
    for each in here:
        each.leave()
    assert (gate.count, gate.unknown) == (0, {})


def test_a_process_has_so_many_requests_in_progress() -> None:
    gate = admission(requests=2)
    for address in ("a", "b"):
        Admitted(gate, address, is_counted=True).known()
    Admitted(gate, "health", is_counted=False)

    refusal = gate.refusal("c")

    assert refusal is not None
    assert (refusal.type, refusal.code) == ("service_unavailable", "overloaded")


class _Right:
    """A database that has every key."""

    async def run(self, _: object) -> object:
        return SimpleNamespace(id="key_1", expired_at=None)


async def test_a_key_that_was_right_before_is_let_in_whatever_strangers_do_at_its_address() -> None:
    now, right = 100.0, new_plain_key()
    gate, keyring = admission(), Keyring(cast("Database", _Right()), clock=lambda: now)
    await keyring.identify(f"Bearer {right}")
    now += 3600
    strangers = [Admitted(gate, "192.0.2.1", is_counted=True) for _ in range(3)]
    seen = list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        assert gate.unknown == {"192.0.2.1": 3}
        assert not was_proved(scope)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    state = SimpleNamespace(front=SimpleNamespace(keyring=keyring), renderers=Renderers())
    for name, value in (
        ("authorization", f"Bearer {right}"),
        ("x-api-key", right),
        ("authorization", f"Bearer {new_plain_key()}"),
    ):
        scope = {
            "type": "http",
            "path": "/",
            "client": ("192.0.2.1", 1),
            "headers": [(name.encode(), value.encode())],
            "app": SimpleNamespace(state=state),
        }
        await Gatekeeper(app, gate)(scope, None, send)  # type: ignore[arg-type]

    assert seen == ["/", "/", 429]
    assert gate.count == len(strangers)


async def test_look_ups_of_an_address_take_turns_and_others_do_not_wait() -> None:
    gate = admission()
    running, most = 0, 0
    go = asyncio.Event()

    async def look_up() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    waiting = [
        asyncio.create_task(Admitted(gate, "a", is_counted=True).in_turn(look_up)) for _ in range(5)
    ]
    other = asyncio.create_task(Admitted(gate, "b", is_counted=True).in_turn(look_up))
    for _ in range(5):
        await asyncio.sleep(0)
    assert running == 3  # two of one, and the other
    go.set()
    await asyncio.gather(*waiting, other)
    assert most == 3


async def test_too_many_wrong_ones_are_429_and_a_right_one_is_taken() -> None:
    gate = admission(per_minute=2)

    async def wrong() -> None:
        raise RequestRefused("no", type="authentication_error")

    async def right() -> str:
        return "key"

    types = []
    for _ in range(4):
        with pytest.raises(RequestRefused) as refused:
            await Admitted(gate, "a", is_counted=True).proved(wrong)
        types.append(refused.value.type)
    assert types == ["authentication_error"] * 2 + ["rate_limited"] * 2
    assert refused.value.retry_after == pytest.approx(30.0)
    assert await Admitted(gate, "a", is_counted=True).proved(right) == "key"


def test_budgets_follow_from_the_files_that_a_process_may_open() -> None:
    small, usual = limits_of(load({}), files=256), limits_of(load({}), files=1024)

    assert small.connections == 144
    assert small.requests < small.connections
    assert (usual.connections, usual.of_address, usual.streams) == (720, 360, 360)
    assert usual.streams_of_tenant == 180
    own = limits_of(load({"LONGTAKE_MAX_CONNECTIONS": "100"}), files=8192)
    assert (own.connections, own.of_address, own.streams, own.streams_of_tenant) == (
        *(100, 50),
        *(50, 25),
    )


def test_many_files_do_not_mean_more_connections_than_memory_has_room_for() -> None:
    many = 1_048_576
    assert limits_of(load({}), files=many).connections == 6_000
    assert limits_of(load({"LONGTAKE_MAX_CONNECTIONS": "9000"}), files=many).connections == 9_000


def test_a_wrong_network_of_proxies_is_told() -> None:
    with pytest.raises(SettingsError, match=r"LONGTAKE_TRUSTED_PROXIES.*10\.0\.0\.300"):
        load({"LONGTAKE_TRUSTED_PROXIES": "10.0.0.300"})
    for wrong in ("10.0.0.1/8", "nginx"):
        with pytest.raises(SettingsError, match="network without host bits, not a name") as told:
            load({"LONGTAKE_TRUSTED_PROXIES": f"127.0.0.1,{wrong}"})
        assert len(str(told.value).splitlines()) == 1
    assert len(load({"LONGTAKE_TRUSTED_PROXIES": "10.0.0.1, fd00::/8"}).trusted_proxies) == 2
