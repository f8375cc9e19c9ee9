"""The claimed rows that wait to be started: tenants take turns, each one's rows in their order.

A pump claims ahead, so that no request waits for a claim. Were its rows started in the order of
their claims, a tenant's one row would wait behind all that another has many of.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class OfTenant(Protocol):
    """A row that is started in its tenant's turn."""

    @property
    def tenant(self) -> str: ...


R = TypeVar("R", bound=OfTenant)


class Ready(Generic[R]):
    """Rows by tenant; the first tenant's turn is next. Every step costs the same, however many."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, deque[R]] = OrderedDict()
        #: Whose turn was the last: it comes after everyone else's.
        self._served: str | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[R]:
        return (row for rows in self._rows.values() for row in rows)

    def add(self, row: R) -> None:
        """Add a row behind its tenant's others; a new tenant waits for one turn of each other."""
        rows = self._rows.get(row.tenant)
        if rows is None:
            rows = self._rows[row.tenant] = deque()
            if self._served is not None and self._served in self._rows:
                self._rows.move_to_end(self._served)
        rows.append(row)
        self._count += 1

    def take(self) -> R:
        """Remove the next row. Raises KeyError if there is none."""
        tenant, rows = self._rows.popitem(last=False)
        self._served = tenant
        if len(rows) > 1:
            self._rows[tenant] = rows
        self._count -= 1
        return rows.popleft()

    def remove(self, row: R) -> None:
        """Remove a row, wherever it is. Raises KeyError if it is not here."""
        rows = self._rows[row.tenant]
        try:
            rows.remove(row)
        except ValueError:
            raise KeyError(row) from None
        if not rows:
            del self._rows[row.tenant]
        self._count -= 1

    def clear(self) -> None:
        self._rows.clear()
        self._count = 0

    def those_with(self, many: int) -> list[str]:
        """Tenants with at least so many rows."""
        return [tenant for tenant, rows in self._rows.items() if len(rows) >= many]
