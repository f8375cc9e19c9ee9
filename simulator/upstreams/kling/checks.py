"""Validates request fields for Kling: one check per name."""

import base64
from collections.abc import Callable, Mapping

Checks = Mapping[str, Callable[[object], bool]]


def field_errors(body: Mapping[str, object], checks: Checks, *, where: str = "") -> list[str]:
    """Errors for unknown or invalid fields; null counts as absent."""
    unknown = [f"{where}{name} is not known" for name in sorted(set(body) - set(checks))]
    wrong = [
        f"{where}{name} is invalid"
        for name, is_right in checks.items()
        if body.get(name) is not None and not is_right(body[name])
    ]
    return [*unknown, *wrong]


def is_watermark(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("enabled", False), bool)


def image_error(value: object, where: str) -> str | None:
    """An error unless the value is a URL or bare base64, without a `data:` prefix."""
    if isinstance(value, str) and (value.startswith(("https://", "http://")) or _is_base64(value)):
        return None
    return f"{where} must be a URL, or base64 without a prefix"


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:  # binascii.Error, and text that is not ASCII
        return False
