"""Gathering: one poll for many operations, where a provider can report on several in one answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from providers.base import Update

#: Operations wait this long for company before they are asked about, in seconds.
WAIT = 0.02

Ask = Callable[[Sequence[str]], Awaitable[Mapping[str, Update]]]


@dataclass(slots=True)
class _Group:
    ids: list[str] = field(default_factory=list)
    answer: asyncio.Task[Mapping[str, Update]] | None = None


class Gatherer:
    """Joins single questions about operations of one account into polls of up to `most` of them."""

    def __init__(self, most: int, ask: Ask) -> None:
        self._most = most
        self._ask = ask
        self._open: _Group | None = None

    async def look(self, operation_id: str) -> Update | None:
        """The operation's update, or None when the provider knows none; errors are everybody's."""
        group = self._open
        if group is None:
            group = self._open = _Group()
            group.answer = asyncio.create_task(self._ask_soon(group))
        group.ids.append(operation_id)
        if len(group.ids) >= self._most:
            self._open = None
        if group.answer is None:
            raise AssertionError  # set with the group
        # One who is cancelled must not take the others' answer away.
        return (await asyncio.shield(group.answer)).get(operation_id)

    async def _ask_soon(self, group: _Group) -> Mapping[str, Update]:
        await asyncio.sleep(WAIT)
        if self._open is group:
            self._open = None
        return await self._ask(group.ids)
