"""Redaction for logs and stored errors: of URLs scheme and host alone, text without keys.

Prompts and vendors' words pass through here, so every pattern takes time linear in their length.
"""

import re

from models.address import ADDRESS, shown_of

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
    found = ADDRESS.match(url)
    return shown_of(found) if found else _MASK


def redact(text: str) -> str:
    """The text with URLs cut as by `safe_url` and anything that looks like a key masked."""
    text = ADDRESS.sub(shown_of, text)
    for secret in _SECRETS:
        text = secret.sub(rf"\g<kept>{_MASK}", text)
    return text
