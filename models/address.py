"""What may be shown of an address: scheme, host and port.

Who knows the path of a webhook or of a signed link may use it. Prompts and vendors' words are
searched for addresses, so every pattern takes time linear in their length.
"""

import re
from typing import Final

#: An address and all that follows it without a space, whose parts are found by hand, so that
#: malformed ones are cut too. JSON escapes its slashes, and repr() the backslashes of that. Of a
#: scheme of more than 32 characters the last ones count: without a limit, each start would scan to
#: the text's end.
ADDRESS: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31}):\\?\\?/\\?\\?/"
    r"(?P<rest>(?:[^\s\"'<>]|'(?=[^\s,;:.)\]}'\"<>]))*)",
    re.IGNORECASE,
)
#: What ends a host, and a host as it is without a user: a password may have any of the former.
_ENDS: Final = re.compile(r"[/\\?#']")
_HOST: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")


def shown_of(found: re.Match[str]) -> str:
    """Scheme, host and port of a match of ADDRESS."""
    first = _ENDS.split(found["rest"], maxsplit=1)[0]
    host = first.rpartition("@")[2]
    if "@" not in first and not _HOST.fullmatch(first):
        # Words behind a colon are no port, so the password goes on to the last @.
        _, at, behind = found["rest"].rpartition("@")
        host = _ENDS.split(behind, maxsplit=1)[0] if at else "…"
    return f"{found['scheme']}://{host}"
