"""Whose a request is: the connection's address, or the one that trusted proxies forward."""

from ipaddress import ip_network

import pytest

from api.addresses import address_of, client_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def seen(peer: str, *forwarded: str) -> str:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return client_address(peer, headers, proxies=PROXIES).budget


def test_a_stranger_is_believed_nothing() -> None:
    assert seen("203.0.113.7", "198.51.100.1") == "203.0.113.7"
    assert client_address("10.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")], proxies=()).budget == (
        "10.0.0.1"
    )


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        # What the client itself sent stands to the left of what the proxy saw
        (["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1", "198.51.100.1, 10.2.0.1"], "198.51.100.1"),
        (["198.51.100.1", "10.2.0.1, 10.3.0.1"], "198.51.100.1"),
        (["198.51.100.1:4711"], "198.51.100.1"),
        (["[2001:db8::7]:4711"], "2001:db8::/64"),
        (["10.9.0.1, 10.2.0.1"], "10.9.0.1"),
        # Nothing that can be counted by: the last proxy that is trusted counts
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["unknown"], "10.0.0.1"),
        (["1.1.1.1, unknown, 10.2.0.1"], "10.2.0.1"),
        (["x" * 5000], "10.0.0.1"),
        ([",".join(["1.1.1.1"] * 500 + ["198.51.100.1"])], "198.51.100.1"),
    ],
)
def test_of_trusted_proxies_the_rightmost_hop_that_is_not_trusted_counts(
    forwarded: list[str], client: str
) -> None:
    assert seen("10.0.0.1", *forwarded) == client


def test_addresses_of_one_network_of_ipv6_count_as_one() -> None:
    assert seen("2001:db8:0:1::7") == seen("2001:db8:0:1:ffff::9") == "2001:db8:0:1::/64"
    assert seen("2001:db8:0:2::7") != seen("2001:db8:0:1::7")
    assert seen("fe80::1%eth0") == "fe80::/64"


def test_an_ipv4_address_is_the_same_in_the_form_of_ipv6() -> None:
    assert seen("::ffff:203.0.113.7") == seen("203.0.113.7")
    assert seen("::ffff:10.0.0.1", "198.51.100.1") == "198.51.100.1"


def test_what_is_no_address_counts_together() -> None:
    assert address_of("").ip is None
    assert address_of("testclient").budget == address_of("").budget
