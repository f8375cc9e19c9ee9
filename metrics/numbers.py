"""Counts and durations of a worker's processes, in memory that they share.

Each process writes to a region of its own, by its place in the pool: the process that takes over a
place goes on from the counts of the one before it. The parent sums the regions up, so one port
tells of all of them, and there are no files that a dead process could leave behind.

All series are known from the start, since memory can be shared only before the processes fork.
"""

import mmap
import os
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

#: Bytes of one number, which is a double.
_WIDTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Series of one name; `series` are the values that its labels may have together.

    With `buckets`, their upper bounds, it is a histogram, else a counter.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    series: Sequence[tuple[str, ...]] = ((),)
    buckets: tuple[float, ...] = ()

    @property
    def cells(self) -> int:
        """Numbers of one series: a count; or one for each bucket, one above them, and the sum."""
        return len(self.buckets) + 2 if self.buckets else 1


def crossed(*values: Sequence[str]) -> list[tuple[str, ...]]:
    """The series of labels whose values occur in any combination."""
    return list(product(*values))


@dataclass(frozen=True, slots=True)
class Summed:
    """One series of a family: its labels' values, and its cells over all processes."""

    series: tuple[str, ...]
    cells: list[float]


class Numbers:
    """The numbers of this process, and of those that it shares memory with."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families
        self._places: Final[dict[tuple[str, ...], int]] = {}
        size = 0
        for family in families:
            for series in family.series:
                self._places[family.name, *series] = size
                size += family.cells
        self._size = size
        self._cells = memoryview(bytearray(size * _WIDTH)).cast("d")
        self._used = memoryview(bytearray(b"\x01"))
        self._base = 0
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._replace_lock)

    def share(self, regions: int) -> None:
        """Begin anew in memory for so many processes, of which this is the first; before a fork.

        Only pages that are written to take up memory.
        """
        memory = mmap.mmap(-1, regions * (self._size * _WIDTH + _WIDTH))
        whole = memoryview(memory)
        self._used = whole[: regions * _WIDTH : _WIDTH]
        self._cells = whole[regions * _WIDTH :].cast("d")
        self.use(0)

    def use(self, region: int) -> None:
        """Write to a region from now on: the one of this process alone.

        Where there are fewer regions than processes, some share one and may lose counts.
        """
        region %= len(self._used)
        self._used[region] = 1
        self._base = region * self._size

    def add(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Add to a counter; a series that is not listed is not counted."""
        place = self._places.get((name, *labels))
        if place is not None:
            with self._lock:
                self._cells[self._base + place] += by

    def observe(self, family: Family, *labels: str, value: float) -> None:
        """Add a value to a histogram; a series that is not listed is not counted."""
        place = self._places.get((family.name, *labels))
        if place is None:
            return
        first = self._base + place
        with self._lock:
            self._cells[first + bisect_left(family.buckets, value)] += 1
            self._cells[first + family.cells - 1] += value

    def place(self, family: Family, *labels: str) -> int | None:
        """The index of a series, for `count`; None if it is not listed."""
        return self._places.get((family.name, *labels))

    def count(
        self, counter: int | None, histogram: int | None, *, buckets: Sequence[float], value: float
    ) -> None:
        """Increment a counter and add a value to a histogram, by their indexes."""
        base, cells = self._base, self._cells
        with self._lock:
            if counter is not None:
                cells[base + counter] += 1
            if histogram is not None:
                first = base + histogram
                cells[first + bisect_left(buckets, value)] += 1
                cells[first + len(buckets) + 1] += value

    def read(self) -> list[tuple[Family, list[Summed]]]:
        """All families, each with the series that were written to since the start."""
        used = [number for number, is_used in enumerate(self._used) if is_used]
        return [(family, list(self._sums(family, used))) for family in self._families]

    def _sums(self, family: Family, regions: Sequence[int]) -> Iterator[Summed]:
        for series in family.series:
            place = self._places[family.name, *series]
            rows = (
                self._cells[region * self._size + place :][: family.cells].tolist()
                for region in regions
            )
            sums = [sum(column) for column in zip(*rows, strict=True)]
            # A label-less series is there from the start: an absent one tells of no process.
            if any(sums) or not series:
                yield Summed(series, sums)

    def _replace_lock(self) -> None:
        """In a forked child: another thread may have held it during the fork."""
        self._lock = threading.Lock()
