"""The table of models says much in few characters."""

import pytest

from catalog.ranges import as_ranges
from cli.api import Json
from cli.models import _availability


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
    assert as_ranges(durations) == words


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"available": True}, "yes"),
        ({"available": True, "paused": {"code": "capped"}}, "waits: capped"),
        ({"available": False, "set_to_use": "FAL_KEY"}, "set FAL_KEY"),
        (
            {"available": False, "retired": {"on": "2026-10-22", "use": ["veo3.1", "omni"]}},
            "retired 2026-10-22: use veo3.1 or omni",
        ),
        ({"available": False, "retired": {"on": "2026-09-24", "use": []}}, "retired 2026-09-24"),
    ],
)
def test_whether_a_model_can_be_asked_for_is_told(model: Json, words: str) -> None:
    assert _availability(model).plain == words
