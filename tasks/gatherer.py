"""Batches polls: one call for many operations, for providers that report on several at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from providers.base import Update

#: Time that a batch stays open for further operations, in seconds.
WAIT = 0.02

Ask = Callable[[Sequence[str]], Awaitable[Mapping[str, Update]]]


@dataclass(slots=True)
class _Group:
    ids: list[str] = field(default_factory=list)
    answer: asyncio.Task[Mapping[str, Update]] | None = None


class Gatherer:
    """Joins polls of single operations of one account into calls of up to `most` operations."""

    def __init__(self, most: int, ask: Ask) -> None:
        self._most = most
        self._ask = ask
        self._open: _Group | None = None

    async def look(self, operation_id: str) -> Update | None:
        """The operation's update, or None if the provider has none; the batch shares errors.

        Who asks notes an answer once, not for each operation: `ask` is called once for them all.
        """
        group = self._open
        if group is None:
            group = self._open = _Group()
            group.answer = asyncio.create_task(self._ask_soon(group))
        group.ids.append(operation_id)
        if len(group.ids) >= self._most:
            self._open = None
        if group.answer is None:
            raise AssertionError  # set with the group
        # A cancelled caller must not cancel the call for the others.
        return (await asyncio.shield(group.answer)).get(operation_id)

    async def _ask_soon(self, group: _Group) -> Mapping[str, Update]:
        await asyncio.sleep(WAIT)
        if self._open is group:
            self._open = None
        return await self._ask(group.ids)
