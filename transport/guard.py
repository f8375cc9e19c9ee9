"""The outbound guard: which addresses a request to a user-supplied URL may reach.

`permits` is the enforcing check: it runs on each socket's address just before it connects, so DNS
rebinding and unusual spellings do not get around it. `check_host` only refuses early.
"""

import socket
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

#: Not public, though some Python patch versions list them as global.
_NEVER = (
    IPv4Network("192.0.0.0/24"),  # IETF protocols; Oracle's cloud metadata is at 192.0.0.192
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    IPv4Network("168.63.129.16/32"),  # Azure's host, as seen from every virtual machine
    IPv6Network("2001::/23"),  # IETF protocols, including Teredo
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("3fff::/20"),  # documentation, RFC 9637
)
#: All space allocated to internet hosts (IANA, IPv6 Global Unicast Address Space).
_GLOBAL_UNICAST = IPv6Network("2000::/3")
#: IPv6-only networks reach IPv4 addresses through this prefix (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")

_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})


@dataclass(frozen=True, slots=True)
class Guard:
    """Permits public addresses, and those in `allowed_networks`."""

    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def permits(self, ip: str | IPv4Address | IPv6Address) -> bool:
        """Whether a socket may connect to this address; False if it is not an IP address."""
        try:
            address = ip_address(str(ip).partition("%")[0])
        except ValueError:
            return False
        if any(address in network for network in self.allowed_networks):
            return True
        inner = _embedded(address)
        return _is_public(address) if inner is None else self.permits(inner)

    def check_host(self, url: str) -> str | None:
        """Why this URL can be refused before resolving it, or None.

        A host name passes: it is resolved and checked at each connection.
        """
        try:
            host = urlsplit(url).hostname
        except ValueError:
            host = None
        if not host:
            return "the URL has no host"
        host = _folded(host).removesuffix(".")
        literal = _literal(host)
        if literal is not None and not self.permits(literal):
            return f"{host} is not a public address"
        if _is_loopback_name(host) and not any(self.permits(ip) for ip in _LOOPBACK):
            return f"{host} is this machine, not a public address"
        return None


def _folded(host: str) -> str:
    """A host as clients and resolvers fold it, with its digits and dots in ASCII."""
    try:
        return host.encode("idna").decode().lower()
    except UnicodeError:
        return unicodedata.normalize("NFKC", host)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address a host spells out, including resolver forms: 2130706433, 0x7f.1, 127.1."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _is_loopback_name(host: str) -> bool:
    return host in _LOOPBACK_NAMES or host.endswith(".localhost")  # RFC 6761, section 6.3


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a connection to this IPv6 address reaches."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if any(address in network for network in _NEVER):
        return False
    return isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST
