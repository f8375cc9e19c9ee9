"""How Kling judges the members of a body: a check for each name, a sentence for each complaint."""

import base64
from collections.abc import Callable, Mapping

Checks = Mapping[str, Callable[[object], bool]]


def complaints_about(body: Mapping[str, object], checks: Checks, *, where: str = "") -> list[str]:
    """The members that are unknown or wrong; null counts as left out."""
    unknown = [f"{where}{name} is not known" for name in sorted(set(body) - set(checks))]
    wrong = [
        f"{where}{name} is invalid"
        for name, is_right in checks.items()
        if body.get(name) is not None and not is_right(body[name])
    ]
    return [*unknown, *wrong]


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_flag(value: object) -> bool:
    return isinstance(value, bool)


def is_watermark(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("enabled", False), bool)


def is_one_of(*allowed: object) -> Callable[[object], bool]:
    """Whether a value is one of these, of the same type."""
    return lambda value: any(value == one and type(value) is type(one) for one in allowed)


def at_most(characters: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and len(value) <= characters


def complaint_about_picture(value: object, where: str) -> str | None:
    """A picture is an address or bare base64: no `data:` prefix."""
    if isinstance(value, str) and (value.startswith(("https://", "http://")) or _is_base64(value)):
        return None
    return f"{where} must be an address, or base64 without a prefix"


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:  # binascii.Error, and text that is not ASCII
        return False
