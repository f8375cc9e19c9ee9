"""How often the demo's operations were polled, and how soon their ends were noticed."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.api import Json
from models.database import Connection, fetch_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """An operation whose end is recorded."""

    provider: str
    operation_id: str
    #: Unix time.
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Means over all operations that were polled and have ended."""

    operations: int
    polls: float
    #: Seconds from the end at the vendor to its record here.
    delay: float

    def __str__(self) -> str:
        return (
            f"{self.polls:.1f} polls of an operation, and its end was known after "
            f"{self.delay:.2f} s: the means of {self.operations}."
        )


async def ends(connection: Connection) -> list[End]:
    """All operations whose ends are recorded in the database."""
    return await fetch_rows(
        connection,
        End,
        """
        SELECT provider, operation_id, extract(epoch FROM finished_at)::float8 AS at
        FROM attempt WHERE operation_id IS NOT NULL AND finished_at IS NOT NULL
        """,
    )


def looks(told: Sequence[Json], known: Sequence[End]) -> Looks | None:
    """Compare the simulator's operations with our records; None if none match."""
    by_provider: dict[str, list[Json]] = {}
    for row in told:
        if row["polls"] and row["ended_at"] is not None:
            by_provider.setdefault(row["provider"], []).append(row)
    polls, delays = list[int](), list[float]()
    for end in known:
        for row in by_provider.get(end.provider, ()):
            # Some of our ids contain more than the provider's own, such as the kind of operation.
            if end.operation_id.endswith(str(row["operation_id"])):
                polls.append(row["polls"])
                delays.append(end.at - row["ended_at"])
    if not polls:
        return None
    count = len(polls)
    return Looks(operations=count, polls=sum(polls) / count, delay=sum(delays) / count)
