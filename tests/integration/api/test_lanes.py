"""`GET /v1/ops/lanes`: every kind of work by lane, with zeros, however many hosts there are."""

from typing import Any

import pytest

from models import accounts, due
from models.ids import created_at, new_id
from models.keys import create_key
from models.rows.accounts import CapPeriod
from models.verbs import DECLARED, What
from tasks.lanes import MOST_NAMED, NAMED, OTHERS
from tasks.making import HEAD_START
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/ops/lanes"
HOSTS = 300

Entry = dict[str, Any]


@pytest.fixture
async def admin(api: Api) -> dict[str, str]:
    """The header of an admin's key."""
    _, plain = await api.front.engine.database.run(
        lambda connection: create_key(connection, "ops", is_admin=True)
    )
    return {"Authorization": f"Bearer {plain}"}


async def read(api: Api, admin: dict[str, str], **query: int) -> list[Entry]:
    answer = await api.http.get(PATH, headers=admin, params=query)
    assert answer.status_code == 200, answer.text
    found: list[Entry] = answer.json()["data"]
    return found


def at(entries: list[Entry], what: str, lane: str) -> Entry:
    (found,) = (each for each in entries if (each["what"], each["lane"]) == (what, lane))
    return found


async def put(api: Api, what: What, rows: list[due.Row]) -> None:
    await api.front.engine.database.run(lambda connection: due.put(connection, what, rows))


async def put_at_hosts(api: Api, hosts: int, *, each: int = 2) -> None:
    """Deliveries at so many hosts: those at `host-n` wait since n seconds."""
    rows = [
        due.Row(id=f"evt-{n}-{k}", lane=f"host-{n:06}.test", tenant="acme", after=-float(n))
        for n in range(1, hosts + 1)
        for k in range(each)
    ]
    await put(api, What.DELIVER, rows)


async def test_only_an_admins_key_reads_them(api: Api, admin: dict[str, str]) -> None:
    of_tenant = await api.http.get(PATH)
    without = await api.http.get(PATH, headers={"Authorization": ""})

    assert of_tenant.status_code == without.status_code == 401
    assert of_tenant.json()["error"]["type"] == "authentication_error"
    assert "longtake keys create --admin" in of_tenant.json()["error"]["message"]
    assert (await api.http.get(PATH, headers=admin)).status_code == 200


async def test_where_nothing_is_due_every_kind_has_its_zeros(
    api: Api, admin: dict[str, str]
) -> None:
    entries = await read(api, admin)

    assert {each["what"] for each in entries} == {each.what for each in DECLARED}
    for what in (What.SUBMIT, What.POLL, What.STORE, What.CANCEL, What.LOOK_UP):
        assert at(entries, what, "runway")["lanes"] == 1
    for each in entries:
        assert {each[name] for name in ("due", "oldest_seconds", "in_flight")} == {0}
        assert (each["pace"], each["paused"]) == (1.0, None)
    others = {each["what"]: each["lanes"] for each in entries if each["lane"] == OTHERS}
    assert others == {"deliver": 0, "prepare": 0}


async def test_due_and_leased_rows_are_told_apart_and_future_ones_are_not_told(
    api: Api, admin: dict[str, str]
) -> None:
    # Given polls: 3 due, the oldest for 40 s; 2 leased; 1 whose lease has ended; 4 due later
    ages = {"due": (40.0, 2.0, 1.0), "leased": (-20.0, -20.0), "abandoned": (90.0,)}
    later = [due.Row(id=f"later-{n}", lane="runway", tenant="acme", after=60.0) for n in range(4)]
    rows = [
        due.Row(id=f"{kind}-{n}", lane="runway", tenant="acme", after=-age)
        for kind, of_kind in ages.items()
        for n, age in enumerate(of_kind)
    ]
    await put(api, What.POLL, [*rows, *later])
    await api.fetch(
        "UPDATE due SET lease = gen_random_uuid() WHERE id LIKE 'leased%%' OR id LIKE 'aband%%'"
    )

    entry = at(await read(api, admin), "poll", "runway")

    assert (entry["queue"], entry["due"], entry["in_flight"]) == ("poll", 4, 2)
    assert 90 <= entry["oldest_seconds"] < 120


async def test_a_head_start_is_no_age(api: Api, admin: dict[str, str]) -> None:
    await api.submit(priority="high")
    (row,) = await api.fetch("SELECT now() - at AS early FROM due WHERE what = 'submit'")
    assert row["early"].total_seconds() >= HEAD_START["high"]

    entry = at(await read(api, admin), "submit", "runway")

    assert entry["due"] == 1
    assert entry["oldest_seconds"] < 120


async def test_an_ids_time_is_read_by_postgresql(api: Api) -> None:
    made = created_at("id")
    (row,) = await api.fetch(
        f"SELECT abs(extract(epoch FROM clock_timestamp() - {made}))::float8 AS apart "  # noqa: S608
        "FROM (SELECT %s::text AS id) AS given",
        new_id("att"),
    )

    assert row["apart"] < 60


async def test_of_many_hosts_the_oldest_are_named_and_the_others_summed_up(
    api: Api, admin: dict[str, str]
) -> None:
    await put_at_hosts(api, HOSTS)

    entries = [each for each in await read(api, admin) if each["what"] == "deliver"]

    named, others = entries[:-1], entries[-1]
    assert [each["lane"] for each in named] == [
        f"host-{n:06}.test" for n in range(HOSTS, HOSTS - NAMED, -1)
    ]
    assert {each["due"] for each in named} == {2}
    assert (others["lane"], others["lanes"]) == (OTHERS, HOSTS - NAMED)
    assert others["due"] == 2 * (HOSTS - NAMED)
    assert HOSTS - NAMED <= others["oldest_seconds"] < named[-1]["oldest_seconds"]
    few = [each for each in await read(api, admin, limit=3) if each["what"] == "deliver"]
    assert [each["lanes"] for each in few] == [1, 1, 1, HOSTS - 3]


async def test_pauses_and_used_up_caps_of_accounts_are_told(
    api: Api, admin: dict[str, str]
) -> None:
    database = api.front.engine.database
    await database.run(
        lambda c: accounts.pause(c, "runway", whole=True, seconds=600, reason="the vendor is down")
    )

    entries = await read(api, admin)

    paused = at(entries, "submit", "runway")["paused"]
    assert (paused["code"], paused["reason"]) == ("paused", "the vendor is down")
    assert 500 < paused["seconds"] <= 600
    assert at(entries, "poll", "runway")["paused"] is None
    await database.run(lambda c: accounts.resume(c, "runway", whole=True))
    assert at(await read(api, admin), "submit", "runway")["paused"] is None
    await database.run(lambda c: accounts.set_cap(c, "runway", micros=1, period=CapPeriod.TOTAL))
    await api.fetch("UPDATE account_rule SET forgotten_micros = 1")
    assert at(await read(api, admin), "submit", "runway")["paused"]["code"] == "capped"


async def test_an_account_that_its_provider_refuses_or_slows_down_is_told(
    api: Api, admin: dict[str, str]
) -> None:
    await api.fetch(
        "INSERT INTO account_rule (name, block_code, block_reason, blocked_at, probe_at) "
        "VALUES ('runway', 'provider_quota', 'no credits left', now(), now() + interval '30 s')"
    )
    await api.fetch(
        "INSERT INTO lane_pace (what, lane, share, paused_until, noted_by) "
        "SELECT what, 'runway', share, now() + pause * interval '1 s', gen_random_uuid() FROM "
        "(VALUES ('poll', 0.25, 9), ('submit', 0.5, -1), ('store', 0.125, -1)) "
        "AS noted (what, share, pause)"
    )

    entries = await read(api, admin)

    submit, poll, store = (at(entries, what, "runway") for what in ("submit", "poll", "store"))
    assert (submit["pace"], submit["paused"]["code"]) == (0.5, "provider_quota")
    assert submit["paused"]["reason"] == "no credits left"
    assert 0 < submit["paused"]["seconds"] <= 30
    assert (poll["pace"], poll["paused"]["code"]) == (0.25, "rate_limited")
    assert 0 < poll["paused"]["seconds"] <= 9
    assert (store["pace"], store["paused"]) == (0.125, None)


async def test_a_host_whose_breaker_is_open_is_told_although_nothing_of_it_is_due(
    api: Api, admin: dict[str, str]
) -> None:
    await api.fetch(
        "INSERT INTO receiver (tenant, host, failures, is_prompt, open_until) "
        "VALUES ('acme', 'dead.test', 5, false, now() + interval '80 s'), "
        "('acme', 'back.test', 5, false, now() - interval '1 s')"
    )

    entries = await read(api, admin)

    entry = at(entries, "deliver", "dead.test")
    assert (entry["due"], entry["paused"]["code"]) == (0, "breaker_open")
    assert 0 < entry["paused"]["seconds"] <= 80
    assert "back.test" not in {each["lane"] for each in entries}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit must be a whole number from 1 to 100 (it is 0)"),
        ("limit=x", "limit must be a whole number from 1 to 100 (it is x)"),
        ("limit=2&limit=3", "limit is given more than once"),
        ("after=3", "after is not a known parameter; known: limit"),
    ],
)
async def test_a_wrong_parameter_is_named(
    api: Api, admin: dict[str, str], query: str, words: str
) -> None:
    answer = await api.http.get(f"{PATH}?{query}", headers=admin)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == words
    assert MOST_NAMED == 100


async def test_a_synchronous_providers_submits_have_their_own_queue(
    api: Api, admin: dict[str, str]
) -> None:
    await put(api, What.SUBMIT, [due.Row(id="att_1", lane="layer", tenant="acme")])

    entries = await read(api, admin)

    assert at(entries, "submit", "layer")["queue"] == "submit_long"
    assert at(entries, "submit", "runway")["queue"] == "submit"
