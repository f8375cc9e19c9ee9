"""The rules of URLs that callers give, for webhooks and for pictures: what no client could call.

Which addresses may be reached is up to `transport.guard`, which knows what the operator allows.
"""

import re
import socket
from ipaddress import IPv6Address
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

from models.text import storable

#: Maximum lengths of a webhook's URL and of a link to a picture, in characters.
MAX_WEBHOOK_URL: Final = 2_048
MAX_LINK: Final = 8 * 2**10
#: Maximum length of a host's name, in characters (RFC 1035, section 2.3.4).
MAX_HOST: Final = 253
#: What a URL never has unless it is escaped: urlsplit drops some of these, and clients disagree
#: about others (RFC 3986, section 2).
_UNESCAPED: Final = re.compile(r"[\s\x00-\x20\x7f\\]")
#: One label of a host's name; the underscore is in names of private networks.
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)

HTTP_URL: Final = "must be an http:// or https:// URL with a host"


def http_url(value: str, *, most: int = MAX_LINK, credentials: bool = True) -> str:
    """The URL; raises ValueError, saying what is allowed, for one that can't be called.

    `most` is its maximum length in characters; `credentials` says whether it may have a user and a
    password before its host.
    """
    storable(value)
    if len(value) > most:
        msg = f"must have at most {most:,} characters as a link, and has {len(value):,} characters"
        raise ValueError(msg)
    if _UNESCAPED.search(value):
        msg = "must not contain spaces, control characters or backslashes: escape them with %"
        raise ValueError(msg)
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(HTTP_URL)
    _check_port(parts)
    _check_name(parts.hostname)
    if not credentials and (parts.username or parts.password):
        msg = "must not contain credentials"
        raise ValueError(msg)
    return value


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        before, bracket, _ = parts.netloc.rpartition("@")[2].partition("[")
        if bracket:
            IPv6Address("" if before else (parts.hostname or "").partition("%")[0])
    except ValueError:
        msg = "must have an IPv6 address between its brackets, as in http://[2001:db8::1]/"
        raise ValueError(msg) from None
    return parts


def _check_port(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        msg = "must have a port from 1 to 65535, or none"
        raise ValueError(msg)


def _check_name(host: str) -> None:
    if ":" in host:
        return
    try:
        name = host.encode("idna").decode()
    except UnicodeError:  # a label without characters, or with too many
        name = ""
    labels = name.removesuffix(".").split(".")
    if len(name) > MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        msg = (
            f"must have a host of at most {MAX_HOST} characters, each part of which is 1 to 63 "
            "letters, digits, - or _"
        )
        raise ValueError(msg)
    if labels[-1].isdigit():
        _check_ipv4(name)


def _check_ipv4(name: str) -> None:
    """What ends in a number is no name: resolvers read it as an IPv4 address, in any notation."""
    try:
        socket.inet_aton(name.removesuffix("."))
    except OSError:
        msg = "must have a host that is a name or an IP address"
        raise ValueError(msg) from None


def _webhook_url(value: str) -> str:
    return http_url(value, most=MAX_WEBHOOK_URL, credentials=False)


#: The URL of a webhook, and what it may be.
WebhookUrl = Annotated[
    str,
    AfterValidator(_webhook_url),
    Field(
        max_length=MAX_WEBHOOK_URL,
        json_schema_extra={"format": "uri", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+$"},
    ),
]
WEBHOOK_URL: Final = (
    f"http:// or https://, a public host, no credentials, at most {MAX_WEBHOOK_URL:,} characters "
    "without spaces"
)
