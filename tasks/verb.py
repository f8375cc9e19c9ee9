"""What a pump can run: the shape of a verb."""

from collections.abc import Sequence
from typing import Any, Protocol

from models.database import Connection
from models.state import What
from scheduler.claim import Claimed
from scheduler.pace import Pace


class Item(Protocol):
    """One claimed thing with what its work needs."""

    @property
    def id(self) -> str: ...


class Result(Protocol):
    """What the work on one item showed."""

    @property
    def id(self) -> str: ...


class Verb(Protocol):
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

    async def load(self, claimed: Sequence[Claimed]) -> Sequence[Any]:
        """The items of claimed rows; a row without an item is finished and is dropped."""
        ...

    async def act(self, item: Any, *, lease: str, pace: Pace) -> Any | None:
        """Do the I/O of one item; None when everything is written already."""
        ...

    async def write(self, connection: Connection, results: Sequence[Any]) -> None:
        """Write results whose rows are held, in one transaction; repeatable."""
        ...

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """End poisoned things with an error, so that they block nothing."""
        ...
