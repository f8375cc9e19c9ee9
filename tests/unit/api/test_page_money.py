"""How pages write money."""

import pytest

from api.pages.words import dollars, exact


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (50_000, "$0.05"),
        (46_700, "$0.0467"),
        (12_000, "$0.012"),
        (120_000, "$0.12"),
        (1_270_000, "$1.27"),
        (1_234_000_000, "$1,234.00"),
        (-1_200_000, "\N{MINUS SIGN}$1.20"),
    ],
)
def test_money_has_cents_and_more_digits_only_where_it_needs_them(micros: int, text: str) -> None:
    assert dollars(micros) == text


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (50_000, "$0.05"),
        (142_000, "$0.142"),
        (1_275_000, "$1.275"),
        (101_360, "$0.10136"),
        (1, "$0.000001"),
        (1_234_500_000, "$1,234.50"),
        (-1_200_000, "\N{MINUS SIGN}$1.20"),
        (None, "\N{EN DASH}"),
    ],
)
def test_a_price_or_a_cap_is_what_somebody_has_set(micros: int | None, text: str) -> None:
    assert exact(micros) == text
