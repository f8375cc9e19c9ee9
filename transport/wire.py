"""Prepares and validates requests before a connection is opened.

An invalid request is refused here as NotSent. In the HTTP libraries, a key with a stray newline
would fail in the middle of a paid POST and leave its outcome unknown.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import yarl

from transport.base import NotSent, Request
from transport.form import encode
from transport.redact import safe_url

#: Default headers. `identity`: sizes and hashes refer to the bytes received, and a small response
#: cannot decompress into a large one.
_DEFAULTS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "longtake"}

#: Scheme, host, port, path with query, fragment: RFC 3986 without credentials. A label of invalid
#: length would make the resolver raise UnicodeError (RFC 1035, section 2.3.4).
_ADDRESS = re.compile(
    r"https?://"
    r"(?:\[[0-9a-f:.]+(?:%25[\w.~-]+)?\]|(?:[\w~%+!$&'()*,;=-]{1,63}\.)*[\w~%+!$&'()*,;=-]{1,63}\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!-\"$-~]*)?)"
    r"(?:#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
#: RFC 9110, sections 5.1 and 5.5, without obs-text, which the two libraries encode differently.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")
_LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request ready for either client; `url` is ASCII, `target` its path and query."""

    method: str
    url: str
    target: str
    headers: dict[str, str]
    content: bytes | None


def prepare(request: Request) -> Outgoing:
    """The request with default headers and an encoded body.

    Raises:
        NotSent: the URL or a header is not valid HTTP, or the URL contains credentials.
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
        # An ASCII URL may be signed, so it is sent unchanged; others must be encoded.
        url = text if text.isascii() else str(yarl.URL(text))
        if "[" in url:  # brackets with no IPv6 address between them: the libraries raise ValueError
            yarl.URL(url, encoded=True)
            urlsplit(url)
    except ValueError:
        url = ""
    found = _ADDRESS.fullmatch(url)
    if not found or int(found["port"] or 80) not in range(1, _LARGEST_PORT + 1):
        msg = f"{safe_url(text)} is not a valid http:// or https:// URL"
        raise NotSent(msg)
    target = found["target"]
    return url, target if target.startswith("/") else f"/{target}"


def _check_headers(headers: dict[str, str], request: Request) -> None:
    for name, value in headers.items():
        if not _is_header(name, value):
            msg = (
                f"{request.method} {safe_url(request.url)}: header {name!r} contains characters "
                "not allowed in HTTP (a stray space or newline in a key?)"
            )
            raise NotSent(msg)


@lru_cache(maxsize=256)  # most requests repeat the previous one's headers
def _is_header(name: str, value: str) -> bool:
    return bool(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value))
