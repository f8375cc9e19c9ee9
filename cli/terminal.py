"""Consoles that show text as text: prompts and errors may hold what a terminal would obey."""

import re
from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.segment import Segment

#: Control characters beside tab and line feed, line separators, unpaired surrogates, and what turns
#: the direction of text around (Unicode's Bidi_Control).
_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    r"""The text with such characters as `\u001b`, which is also how JSON writes them."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class SafeConsole(Console):
    """A console whose own colours and cursor movements are the only ones."""

    def render(self, *args: Any, **kwargs: Any) -> Iterable[Segment]:
        for segment in super().render(*args, **kwargs):
            if segment.control or not _OBEYED.search(segment.text):
                yield segment
            else:
                yield Segment(plain(segment.text), segment.style)
