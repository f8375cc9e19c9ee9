"""The table of models says much in few characters."""

import pytest

from cli.models import _as_ranges


@pytest.mark.parametrize(
    ("durations", "words"),
    [
        ([5], "5"),
        ([5, 10], "5, 10"),
        ([4, 6, 8], "4, 6, 8"),
        ([5, 6], "5, 6"),
        (list(range(2, 11)), "2-10"),
        ([1, 2, 3, 8, 10, 11, 12], "1-3, 8, 10-12"),
    ],
)
def test_seconds_in_a_row_are_told_as_a_range(durations: list[int], words: str) -> None:
    assert _as_ranges(durations) == words
