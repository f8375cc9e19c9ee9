"""What a user-aimed request reaches, at the socket; and the rule by which addresses are judged."""

import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis.strategies import ip_addresses

from tests.unit.transport.raw_server import RawServer
from transport.base import Blocked, NotSent, Request, TransportError
from transport.fast import FastClient
from transport.guard import Guard

#: 127.0.0.2 stands in for a public address, 127.0.0.1 for a private one.
STAND_IN = "127.0.0.2"
GUARD = Guard((ip_network(f"{STAND_IN}/32"),))


class Answers(AbstractResolver):
    """A name server that gives each look-up the next of its answers."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = iter(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0
            )
            for address in next(self._answers)
        ]

    async def close(self) -> None:
        pass


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@pytest.fixture
async def public(anyio_backend: object, server: RawServer) -> AsyncIterator[RawServer]:
    """A server at the public stand-in, on the port of the private `server`."""
    public = RawServer()
    await public.open(STAND_IN, server.port)
    yield public
    await public.close()


async def fetch(url: str, *answers: list[str], guard: Guard = GUARD, times: int = 1) -> None:
    client = FastClient.guarded(guard, resolver=Answers(*answers))
    try:
        for _ in range(times):
            await client.send(Request(method="POST", url=url, content=b"{}", connect_timeout=2))
    finally:
        await client.close()


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"])
async def test_a_private_address_is_blocked(server: RawServer, host: str) -> None:
    with pytest.raises(Blocked, match="not public"):
        await fetch(server.url(host=host))

    assert server.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"])
async def test_an_odd_spelling_of_a_private_address_reaches_nothing(
    server: RawServer, host: str
) -> None:
    # Given a resolver that reads odd spellings, as the system's does
    as_c_reads_it = [socket.inet_ntoa(socket.inet_aton(host))]

    with pytest.raises(NotSent):
        await fetch(server.url(host=host), as_c_reads_it)

    assert server.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["127.0.0.1", "::1"], ["fe80::1%lo"]]
)
async def test_a_name_that_resolves_to_private_addresses_is_blocked(
    server: RawServer, answer: list[str]
) -> None:
    with pytest.raises(Blocked):
        await fetch(server.url(host="hooks.example"), answer)

    assert server.connections == 0


@pytest.mark.anyio
async def test_the_systems_resolver_is_guarded_too(server: RawServer) -> None:
    client = FastClient.guarded(Guard())

    with pytest.raises(Blocked):
        await client.send(Request(method="GET", url=server.url(host="localhost")))

    assert server.connections == 0
    await client.close()


@pytest.mark.anyio
async def test_a_name_that_changes_between_two_requests_is_checked_each_time(
    server: RawServer, public: RawServer
) -> None:
    # Given a name that is public at first and private then
    with pytest.raises(Blocked):
        await fetch(server.url(host="hooks.example"), [STAND_IN], ["127.0.0.1"], times=2)

    # Then only the first request went anywhere
    assert len(public.requests) == 1
    assert server.connections == 0


@pytest.mark.anyio
async def test_of_a_names_addresses_only_the_public_one_is_reached(
    server: RawServer, public: RawServer
) -> None:
    await fetch(server.url(host="hooks.example"), ["127.0.0.1", STAND_IN, "::1"])

    assert len(public.requests) == 1
    assert server.connections == 0


@pytest.mark.anyio
async def test_a_public_address_that_refuses_is_not_called_blocked(closed_port: int) -> None:
    with pytest.raises(TransportError) as told:
        await fetch(f"http://{STAND_IN}:{closed_port}/")

    assert type(told.value) is NotSent


@pytest.mark.anyio
async def test_an_allowed_network_is_reached(server: RawServer) -> None:
    guard = Guard((ip_network("127.0.0.0/8"),))

    await fetch(server.url(), guard=guard)
    await fetch(server.url(host="sim.example"), ["127.0.0.1"], guard=guard)

    assert len(server.requests) == 2


@pytest.mark.anyio
async def test_a_redirect_leads_nowhere(server: RawServer, public: RawServer) -> None:
    public.behave = public.answer(status="302 X", headers=f"Location: {server.url()}\r\n")

    await fetch(public.url(host=STAND_IN))

    assert server.connections == 0


@pytest.mark.anyio
async def test_proxies_of_the_environment_do_not_get_around_the_guard(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url(""))
    monkeypatch.setenv("http_proxy", server.url(""))

    with pytest.raises(Blocked):
        await fetch("http://hooks.example/", ["10.0.0.1"])

    assert server.connections == 0


@pytest.mark.anyio
async def test_a_blocked_request_does_not_tell_the_address_behind_a_name() -> None:
    with pytest.raises(Blocked) as told:
        await fetch("http://hooks.example/", ["10.1.2.3"])

    assert "10.1.2.3" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
        "2001:db8::1",
        "2002:a00:1::",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "hooks.example",
        "",
    ],
)
def test_an_address_that_is_not_public_is_not_permitted(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.215.14",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700:4700::1111",
    ],
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert Guard().permits(address)


@given(ip_addresses(v=4))
def test_no_wrapping_of_an_ipv4_address_changes_the_answer(address: IPv4Address) -> None:
    guard = Guard((ip_network("10.0.0.0/8"),))

    wrapped = [f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{int(address) >> 16:x}:"]
    wrapped[2] += f"{int(address) & 0xFFFF:x}::"

    assert {guard.permits(other) for other in wrapped} == {guard.permits(address)}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://2130706433/",
        "http://0x7f.1:80/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://１２７.0.0.1/",  # noqa: RUF001 - digits that resolvers fold
        "http://127。0。0。1:9/hook",
        "http://127.0.0.1\u00ad/",
        "http://localhost。/x.png",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]:8443/",
        "https://[fe80::1%25eth0]/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://api.localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http:///",
        "http://[::1",
        "nonsense",
    ],
)
def test_an_address_that_can_be_seen_to_be_private_is_refused_early(url: str) -> None:
    assert Guard().check_host(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/x",
        "https://8.8.8.8/",
        "http://[2606:4700::1111]:8080/",
        "http://10.example/",
    ],
)
def test_anything_else_passes_until_it_is_connected_to(url: str) -> None:
    assert Guard().check_host(url) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8100/", "http://localhost:8100/"])
def test_what_the_operator_allows_passes_early_too(url: str) -> None:
    assert Guard((ip_network("127.0.0.0/8"),)).check_host(url) is None


def test_an_early_refusal_says_why_in_words() -> None:
    assert Guard().check_host("http://10.0.0.7/hook") == "10.0.0.7 is not a public address"
    assert Guard().check_host("http://localhost/") == (
        "localhost is this machine, not a public address"
    )
