"""What a pump can run: the shape of a verb."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from models.database import Connection
from models.verbs import What
from scheduler.claim import Claimed
from scheduler.pace import Pace


class Item(Protocol):
    """One claimed row with what its work needs."""

    @property
    def id(self) -> str: ...


class Result(Protocol):
    """What the work on one item showed."""

    @property
    def id(self) -> str: ...


I = TypeVar("I", bound=Item)  # noqa: E741 - of an item, as R of a result
R = TypeVar("R", bound=Result)
R_contra = TypeVar("R_contra", bound=Result, contravariant=True)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a pump holds its rows by: the fencing token of its lease, and its lane's pace."""

    lease: str
    pace: Pace


class Verb(Protocol[I, R]):
    """What a pump does with one kind of due rows."""

    @property
    def what(self) -> What: ...

    @property
    def concurrency(self) -> int:
        """Requests in flight at once."""
        ...

    @property
    def each(self) -> int:
        """Rows of one lane and tenant that one claim takes; of a shared lane, that a pump holds."""
        ...

    @property
    def abandons(self) -> bool:
        """Whether work whose lease was lost is cancelled: never a POST that costs money."""
        ...

    async def load(self, claimed: Sequence[Claimed]) -> Sequence[I]:
        """The items of claimed rows; a row without an item is finished and is dropped."""
        ...

    async def act(self, item: I, hold: Hold) -> R | None:
        """Do the I/O of one item; None when everything is written already."""
        ...

    def jobs(self, results: Sequence[R]) -> Collection[str]:
        """The jobs of which a write of these results may end something: they are locked first.

        None for results that only say when to look again: no such write waits for a job's lock.
        """
        ...

    async def write(self, connection: Connection, results: Sequence[R]) -> None:
        """Write results whose rows, and whose `jobs`, are held, in one transaction; repeatable."""
        ...

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """End the things whose own end has come; leave the others, to be tried again later.

        Called for things on which our own work fails: that alone never ends what may be paid for.
        """
        ...


#: A verb to its pump, which passes items and results on without a look into them.
AnyVerb: TypeAlias = Verb[Any, Any]


@runtime_checkable
class Recorder(Protocol[R_contra]):
    """A verb whose work is recorded even where it came too late to decide anything."""

    async def write_late(self, connection: Connection, results: Sequence[R_contra]) -> None:
        """Record results whose rows another worker holds by now; repeatable."""
        ...
