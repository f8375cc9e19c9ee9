"""One account at its provider: what a verb can ask of it."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from providers.again import Asker
from providers.base import Accepted, Account, Ask, Call, Flow, Found, Provider, Update, Video
from providers.exchange import converse, request_for
from transport.base import Client, Request, Sender
from transport.deadline import Deadline

T = TypeVar("T")


class NoCredentials(Exception):
    """The account has no credentials in this process; another worker may have them."""

    def __init__(self, account: str) -> None:
        super().__init__(f"no credentials for {account} on this worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """An account whose credentials this process has.

    Every method raises what `providers.exchange.converse` raises.
    """

    provider: Provider
    account: Account
    #: Tells exactly what became of a request: for those that change something upstream.
    exact: Client
    polls: Sender
    #: Seconds in which a paid POST is answered or cut off.
    submit_timeout: float

    async def prepare(self, ask: Ask) -> "Prepared":
        """Everything of a submit that comes before its paid request, which is not sent yet."""
        flow = self.provider.submit(ask)
        call = await self._converse(_until_paid(flow), self.exact)
        request = replace(self.request(call), timeout=self.submit_timeout)
        return Prepared(upstream=self, flow=flow, call=call, request=request)

    async def poll(self, operation_ids: Sequence[str]) -> Mapping[str, Update]:
        """The updates of operations; one that is missing no longer exists."""
        return await self._converse(self.provider.poll(operation_ids), self.polls)

    def asker(self) -> Asker:
        """Makes repeated looks at this account's operations."""
        return Asker(self.provider, self.account, self.polls)

    async def survey(self, wanted: Collection[str]) -> Mapping[str, Update]:
        """The updates of those operations that a listing shows; others are to be polled alone."""
        return await self._converse(self.provider.survey(wanted), self.polls)

    async def look_up(self, ask: Ask) -> Found:
        """Find the operation that carries the request's marker."""
        return await self._converse(self.provider.look_up(ask), self.exact)

    async def cancel(self, operation_id: str) -> None:
        """Ask the provider to stop an operation."""
        await self._converse(self.provider.cancel(operation_id), self.exact)

    def download(self, video: Video) -> Call:
        """The call that downloads a finished video."""
        return self.provider.fetch(video)

    def request(self, call: Call) -> Request:
        """The complete request of a call, with credentials for the account's own origin only."""
        return request_for(call, provider=self.provider, account=self.account, now=time.time())

    async def _converse(
        self, flow: Flow[T], client: Sender, *, begin_within: float | None = None
    ) -> T:
        return await converse(
            flow,
            provider=self.provider,
            account=self.account,
            client=client,
            now=time.time(),
            paid_timeout=self.submit_timeout,
            begin_within=begin_within,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A submit just before its paid request, which `post` sends once."""

    upstream: Upstream
    flow: Flow[Accepted]
    call: Call
    #: What will be sent.
    request: Request

    async def post(self, begin_by: Deadline) -> Accepted:
        """Send the paid request and read the answer; NotSent when it can't begin in time."""
        rest = _from_paid(self.flow, self.call)
        return await self.upstream._converse(  # noqa: SLF001 - its other half
            rest, self.upstream.exact, begin_within=begin_by.left
        )


def _until_paid(flow: Flow[Accepted]) -> Flow[Call]:
    """The verb up to its paid call, which is returned instead of yielded."""
    call = next(flow)
    while not call.paid:
        call = flow.send((yield call))
    return call


def _from_paid(flow: Flow[Accepted], call: Call) -> Flow[Accepted]:
    """The rest of the verb, from its paid call on."""
    try:
        while True:
            call = flow.send((yield call))
    except StopIteration as done:
        accepted: Accepted = done.value
        return accepted
    finally:
        flow.close()
