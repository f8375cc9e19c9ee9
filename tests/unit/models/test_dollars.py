"""Amounts are exact, and one that is no amount is refused in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dollars import MOST_DOLLARS, dollars, micros_from


@pytest.mark.parametrize(
    ("text", "micros"),
    [("12.50", 12_500_000), ("0.000001", 1), ("1e3", 10**9), (str(MOST_DOLLARS), 10**15)],
)
def test_an_amount_is_read_exactly(text: str, micros: int) -> None:
    assert micros_from(text, name="amount") == micros


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-5", "-0.01", "NaN", "sNaN", "Infinity", "-Infinity", "", "ten", "$5", "5,00"),
        *("0.0000001", "1000000000.01", "1" + "0" * 30, "1e30", "1e999999999", "1e-999999999"),
        "1." + "0" * 40 + "1",
    ],
)
def test_what_is_no_amount_is_refused_with_field_value_and_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="day must be US dollars, above 0 and at most") as refused:
        micros_from(text, name="day")
    assert repr(text[:64]) in str(refused.value)


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "$0.00"), (1_250_000, "$1.25"), (1, "$0.000001"), (-20_000_000, "-$20.00")],
)
def test_an_amount_is_shown_without_rounding(micros: int, text: str) -> None:
    assert dollars(micros) == text


@given(st.integers(min_value=1, max_value=10**15))
def test_what_is_shown_reads_as_the_same_amount(micros: int) -> None:
    assert micros_from(dollars(micros).removeprefix("$"), name="amount") == micros
