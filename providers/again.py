"""Repeated looks at one operation: what stays the same is computed once.

Verbs are pure, so the same operation and credentials give the same first request, and an answer
with the same bytes gives the same update, if nothing else of it was read. Only a hash of the bytes
is kept (64 bits, with a key of the process), because a process watches 100,000 operations.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from providers.base import Account, Provider, Update
from providers.exchange import converse
from transport.answer import Fields
from transport.base import Request, Response, Sender

#: Maximum size of an answer whose update is kept, in bytes; larger ones are parsed each time.
MOST_KEPT = 1024


@dataclass(slots=True, eq=False)
class Kept:
    """What is kept for an operation between two looks; empty before the first."""

    #: The first request of a look, and the credentials it was made with.
    request: Request | None = None
    given: Mapping[str, str] | None = None
    #: Status and body hash of the last answer, if the update depends on these alone.
    status: int = 0
    told: int | None = None
    update: Update | None = None


class Asker:
    """Looks at operations of one account, one at a time."""

    def __init__(self, provider: Provider, account: Account, client: Sender) -> None:
        self._provider, self._account, self._client = provider, account, client
        #: Headers of the last request, which all operations share while they stay the same.
        self._given: Mapping[str, str] = {}
        self._headers: Mapping[str, str] = {}

    async def look(self, operation_id: str, kept: Kept) -> Update | None:
        """The update of an operation; None if the provider denies it.

        Raises what `providers.exchange.converse` raises.
        """
        now = time.time()
        given = self._provider.authorize(self._account, now=now)
        if given == self._given:
            given = self._given
        else:
            self._given = given
        if kept.given is not given or kept.request is None:
            return await self._read(operation_id, kept, given, now=now)
        answer = await self._client.send(kept.request)
        if answer.status == kept.status and hash(answer.content) == kept.told:
            return kept.update
        return await self._read(operation_id, kept, given, answer, now=now)

    async def _read(
        self,
        operation_id: str,
        kept: Kept,
        given: Mapping[str, str],
        answer: Response | None = None,
        *,
        now: float,
    ) -> Update | None:
        """Run the verb; `answer` is the answer to its first request if that was sent already.

        Without it, nothing is awaited before the verb makes its first request, which therefore has
        the `given` credentials.
        """
        wire = _Wire(self._client, answer)
        kept.told = kept.update = None
        updates = await converse(
            self._provider.poll([operation_id]),
            provider=self._provider,
            account=self._account,
            client=wire,
            now=now,
        )
        update = updates.get(operation_id)
        if kept.given is not given and wire.request is not None:
            kept.request, kept.given = self._shared(wire.request), given
        if update is not None and wire.is_told_by_body:
            kept.status, kept.told = wire.response.status, hash(wire.response.content)
            kept.update = update
        return update

    def _shared(self, request: Request) -> Request:
        """The request with the headers of the one before it, if they are equal."""
        if request.headers != self._headers:
            self._headers = request.headers
        return replace(request, headers=self._headers)


class _Wire:
    """A sender for one conversation: it returns the answer it already has, and keeps the first one.

    So an answer that differs from the last one is parsed by the same code as any other.
    """

    def __init__(self, client: Sender, first: Response | None) -> None:
        self._client, self._first = client, first
        self.request: Request | None = None
        self.response = Response(status=0, headers={}, content=b"")
        self._sent = 0

    async def send(self, request: Request) -> Response:
        self._sent += 1
        if self._sent > 1:
            return await self._client.send(request)
        self.request = request
        self.response = self._first or await self._client.send(request)
        return self.response

    async def close(self) -> None:
        """Do nothing: the client is closed by its owner."""

    @property
    def is_told_by_body(self) -> bool:
        """Whether the verb read nothing but the status and body of one small answer."""
        headers = self.response.headers
        return (
            self._sent == 1
            and len(self.response.content) <= MOST_KEPT
            and isinstance(headers, Fields)
            and not headers.were_read
        )
