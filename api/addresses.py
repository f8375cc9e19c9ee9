"""Whose a request is before its key is known: the address of its client, behind proxies or not."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Networks = Sequence[IPv4Network | IPv6Network]

#: As some proxies write it: an address with its port.
_WITH_PORT: Final = re.compile(r"(?:\[([^\[\]]{1,64})\]|([0-9.]{7,15}))(?::[0-9]{1,5})?", re.ASCII)
#: Proxies in a row that are looked at.
_MOST_HOPS: Final = 32
#: Characters of an address that are looked at.
_LONGEST: Final = 80
#: Who has an IPv6 address has all of its /64.
_OF_ONE: Final = 64


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request comes from, and what it counts by."""

    #: None if it is no IP address: a socket without one.
    ip: IPv4Address | IPv6Address | None
    budget: str


@lru_cache(maxsize=4096)
def address_of(host: str) -> Address:
    """The address that a socket or a header tells; an IPv6 address counts by its /64."""
    found = _WITH_PORT.fullmatch(host)
    try:
        ip = ip_address((found[1] or found[2]) if found else host.partition("%")[0])
    except ValueError:
        return Address(None, "")
    if isinstance(ip, IPv4Address):
        return Address(ip, str(ip))
    if ip.ipv4_mapped is not None:
        return Address(ip.ipv4_mapped, str(ip.ipv4_mapped))
    return Address(ip, str(IPv6Network((ip, _OF_ONE), strict=False)))


def is_within(address: Address, networks: Networks) -> bool:
    return address.ip is not None and any(address.ip in each for each in networks)


def client_address(
    peer: str, headers: Iterable[tuple[bytes, bytes]], *, proxies: Networks
) -> Address:
    """The client's address: of the connection, or, if a trusted proxy made it, of X-Forwarded-For.

    Each proxy appends who connected to it, so the hops are read from the right, for as long as
    proxies tell that are trusted. What stands further left anybody may have written.
    """
    at = address_of(peer)
    if not is_within(at, proxies):
        return at
    told = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    for hop in reversed(told.decode("latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
        told_of = address_of(hop.strip()[:_LONGEST])
        if told_of.ip is None:
            return at  # nothing that can be counted by
        at = told_of
        if not is_within(at, proxies):
            return at
    return at
