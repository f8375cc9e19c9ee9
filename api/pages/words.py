"""How pages write values: times, durations, money, sizes, and what strangers wrote."""

import re
from datetime import UTC, datetime
from typing import Final

#: What changes the direction of the text around it, and what is not shown at all.
HIDDEN: Final = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]"
)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
#: Stands for what there is not, and before what is owed.
_NONE: Final = "\N{EN DASH}"
_MINUS: Final = "\N{MINUS SIGN}"
_KILO: Final = 1000


def clean(text: object) -> str:
    """Somebody's text, with what would hide or turn other text written out, as in ⟨U+202E⟩."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(text))


def day_time(moment: datetime | None, now: datetime | None = None) -> str:
    """A time in UTC: without its day if that is today, without its year if that is this one."""
    if moment is None:
        return _NONE
    moment = moment.astimezone(UTC)
    now = now or datetime.now(UTC)
    if moment.date() == now.date():
        return f"{moment:%H:%M:%S}"
    if moment.year == now.year:
        return f"{moment:%b} {moment.day}, {moment:%H:%M}"
    return f"{moment:%Y-%m-%d %H:%M}"


def read_time(text: str | None) -> datetime | None:
    """A time from the API's text."""
    return datetime.fromisoformat(text) if text else None


def seconds(value: float | None) -> str:
    """A duration: `340 ms`, `4.2 s`, `3 min 5 s`, `2 h 4 min`, `3 d 2 h`."""
    if value is None:
        return _NONE
    if value < 1:
        return f"{round(value * 1000)} ms"
    if value < 10:  # noqa: PLR2004 - one digit is enough beyond
        return f"{value:.1f} s"
    whole = round(value)
    for unit, name, smaller, its_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {its_name}" if rest else "")
    return f"{whole} s"


def dollars(micros: int | None) -> str:
    """Money from millionths of a dollar, to the cent, or finer where cents would say nothing."""
    if micros is None:
        return _NONE
    sign, amount = (_MINUS if micros < 0 else ""), abs(micros) / 1_000_000
    text = f"{amount:,.4f}" if amount < 0.1 else f"{amount:,.2f}"  # noqa: PLR2004 - ten cents
    whole, _, cents = text.partition(".")
    return f"{sign}${whole}.{cents.rstrip('0').ljust(2, '0')}"


def exact(micros: int | None) -> str:
    """Money that somebody has set, as a price or a cap: cents, and as many digits as it has."""
    if micros is None:
        return _NONE
    sign = _MINUS if micros < 0 else ""
    whole, rest = divmod(abs(micros), 1_000_000)
    return f"{sign}${whole:,}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"


def bytes_(count: int | None) -> str:
    """A size: `812 B`, `4.2 MB`."""
    if count is None:
        return _NONE
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < _KILO:
            break
        size, unit = size / _KILO, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
