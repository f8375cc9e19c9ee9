"""Whole seconds as text: runs of three or more become ranges."""

from collections.abc import Sequence

#: Shortest run that is written as a range.
_LEAST = 3


def as_ranges(durations: Sequence[int]) -> str:
    """Sorted whole seconds, as in "5, 8" or "2-10"."""
    runs: list[list[int]] = []
    for seconds in durations:
        if runs and seconds == runs[-1][-1] + 1:
            runs[-1].append(seconds)
        else:
            runs.append([seconds])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) >= _LEAST else ", ".join(map(str, run)) for run in runs
    )
