"""What goes on the wire: a request made whole, and checked before a connection is asked for.

A request that no server could read is refused here as NotSent. Left to the HTTP libraries, a key
with a stray newline would fail half-way into a paid POST, and its fate would count as unknown.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import yarl

from transport.base import NotSent, Request
from transport.form import encode
from transport.redact import safe_url

#: Sent unless the request says otherwise. `identity`: sizes and hashes mean the bytes that arrive,
#: and no small answer unpacks into a large one.
_DEFAULTS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "longtake"}

#: Scheme, host, port, path with query, fragment: RFC 3986, less the credentials. A label of a wrong
#: length would make the resolver raise UnicodeError (RFC 1035, section 2.3.4).
_ADDRESS = re.compile(
    r"https?://"
    r"(?:\[[0-9a-f:.]+(?:%25[\w.~-]+)?\]|(?:[\w~%+!$&'()*,;=-]{1,63}\.)*[\w~%+!$&'()*,;=-]{1,63}\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!-\"$-~]*)?)"
    r"(?:#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
#: RFC 9110, sections 5.1 and 5.5; without obs-text, which the two libraries encode differently.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")
_LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request as both clients send it; `url` is ASCII, `target` its path and query."""

    method: str
    url: str
    target: str
    headers: dict[str, str]
    content: bytes | None


def prepare(request: Request) -> Outgoing:
    """The request with default headers and its body encoded.

    Raises:
        NotSent: the address or a header is not valid HTTP, or the address holds credentials.
    """
    url, target = _checked_address(request.url)
    headers = {name.lower(): value for name, value in request.headers.items()}
    content = request.content
    if request.form:
        headers["content-type"], content = encode(request.form)
    _check_headers(headers, request)
    return Outgoing(
        method=request.method,
        url=url,
        target=target,
        headers=_DEFAULTS | headers,
        content=content,
    )


def _checked_address(text: str) -> tuple[str, str]:
    try:
        # An ASCII address may be signed, so not a byte is changed; others can't go as they are.
        url = text if text.isascii() else str(yarl.URL(text))
    except ValueError:
        url = ""
    found = _ADDRESS.fullmatch(url)
    if not found or int(found["port"] or 80) not in range(1, _LARGEST_PORT + 1):
        msg = f"{safe_url(text)} is not an address that a request can be sent to"
        raise NotSent(msg)
    target = found["target"]
    return url, target if target.startswith("/") else f"/{target}"


def _check_headers(headers: dict[str, str], request: Request) -> None:
    for name, value in headers.items():
        if not _is_header(name, value):
            msg = (
                f"{request.method} {safe_url(request.url)}: the header {name!r} has characters "
                "that HTTP does not allow (a stray space or newline in a key?)"
            )
            raise NotSent(msg)


@lru_cache(maxsize=256)  # most requests say what the last one said
def _is_header(name: str, value: str) -> bool:
    return bool(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value))
