"""Amounts of US dollars: read from text, kept as millionths, shown without rounding."""

from decimal import Decimal, InvalidOperation

#: Of one amount; the sum of all that a tenant deposits is limited separately.
MOST_DOLLARS = 1_000_000_000
_MICROS = 1_000_000


def micros_from(text: str, *, name: str) -> int:
    """An amount in millionths.

    Raises:
        ValueError: it is no number of dollars above zero; names the field, the value and what is
            allowed.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    # Compared before it is multiplied: 1e999999 times anything overflows.
    if amount.is_finite() and 0 < amount <= MOST_DOLLARS:
        micros = int(amount * _MICROS)
        # Compared exactly: the product was rounded to 28 digits.
        if Decimal(micros).scaleb(-6) == amount:
            return micros
    msg = (
        f"{name} must be US dollars, above 0 and at most {MOST_DOLLARS}, with at most 6 decimals "
        f"(it is {text[:64]!r})"
    )
    raise ValueError(msg)


def dollars(micros: int) -> str:
    """`$1.25`: two decimals at least, and as many as it takes."""
    sign, amount = "-" if micros < 0 else "", abs(micros)
    fraction = f"{amount % _MICROS:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${amount // _MICROS}.{fraction}"
