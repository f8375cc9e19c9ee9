"""Redaction for logs and stored errors: of URLs scheme and host alone, text without keys.

Prompts and vendors' words pass through here, so every pattern takes time linear in their length.
"""

import re

#: Parsed by hand up to the end of the host, so that malformed URLs are cut too. Of a scheme of more
#: than 32 characters the last ones count: without a limit, each start would scan to the text's end.
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31})://(?:[^/?#\s\"'<>]*@)?(?P<host>[^/\\?#\s\"'<>]*)[^\s\"'<>]*",
    re.IGNORECASE,
)
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
    return f"{found['scheme']}://{found['host']}" if found else _MASK


def redact(text: str) -> str:
    """The text with URLs cut as by `safe_url` and anything that looks like a key masked."""
    text = _URL.sub(lambda found: safe_url(found[0]), text)
    for secret in _SECRETS:
        text = secret.sub(rf"\g<kept>{_MASK}", text)
    return text
