"""Redaction for logs and stored errors: of URLs scheme and host alone, text without keys.

Prompts and vendors' words pass through here, so every pattern takes time linear in their length.
"""

import re

#: An address and all that follows it without a space, whose parts are found by hand, so that
#: malformed ones are cut too. JSON may have escaped its slashes. Of a scheme of more than 32
#: characters the last ones count: without a limit, each start would scan to the text's end.
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31}):\\?/\\?/"
    r"(?P<rest>(?:[^\s\"'<>]|'(?=[^\s,;:.)\]}'\"<>]))*)",
    re.IGNORECASE,
)
#: What ends a host, and a host as it is without a user: a password may have any of the former.
_ENDS = re.compile(r"[/\\?#']")
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")
_MASK = "[…]"
_SECRETS = (
    # Authorization credentials: vendors use Bearer, Basic, Key (fal) and Token.
    re.compile(r"(?P<kept>\b(?:Bearer|Basic|Key|Token)\s+)[\w.:~+/=-]{8,}", re.IGNORECASE),
    # key=value and "key": "value", for any value; the name may have a prefix, which is not matched.
    re.compile(
        r"(?P<kept>(?:api[_-]?key|secret|token|password|signature|authorization)"
        r"[\"']?\s*[=:]\s*[\"']?)(?!(?:Bearer|Basic|Key|Token)\b)[^\s\"',;&}]+",
        re.IGNORECASE,
    ),
    # Secrets recognised by prefix: webhooks, ours, OpenAI, Runway, Replicate, Google, JWT.
    re.compile(r"(?P<kept>\b(?:whsec_|lt_|sk-|key_|r8_|AIza|ya29\.|eyJ))[\w.~+/=-]{6,}"),
)


def safe_url(url: str) -> str:
    """Scheme, host and port: who knows the path of a webhook or of a signed link may use it."""
    found = _URL.match(url)
    return _shown(found) if found else _MASK


def _shown(found: re.Match[str]) -> str:
    first = _ENDS.split(found["rest"], maxsplit=1)[0]
    host = first.rpartition("@")[2]
    if "@" not in first and not _HOST.fullmatch(first):
        # Words behind a colon are no port, so the password goes on to the last @.
        _, at, behind = found["rest"].rpartition("@")
        host = _ENDS.split(behind, maxsplit=1)[0] if at else "…"
    return f"{found['scheme']}://{host}"


def redact(text: str) -> str:
    """The text with URLs cut as by `safe_url` and anything that looks like a key masked."""
    text = _URL.sub(_shown, text)
    for secret in _SECRETS:
        text = secret.sub(rf"\g<kept>{_MASK}", text)
    return text
