"""The base class of simulated vendors: accepting, result URLs, JSON."""

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from aiohttp import web

from simulator import downloads
from simulator.faults import Step
from simulator.operations import Operation, Order, Phase, Script, UnknownScript
from simulator.world import World

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Refusal(Exception):
    """A refused request; `Upstream.error` renders it in the vendor's format."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        issues: Sequence[Mapping[str, object]] = (),
        retry_after: float | str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.issues = issues
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route under the vendor's prefix."""

    method: str
    path: str
    handle: Handler
    #: The step for faults; None for routes that are not part of a job.
    step: Step | None
    #: Needs no credentials.
    public: bool = field(default=False, kw_only=True)


class Upstream(ABC):
    """One vendor. A new one is a subclass in `simulator.upstreams` and an entry in its list."""

    #: The provider's name in faults and on the bill.
    name: ClassVar[str]
    #: The URL prefix of its API, such as "/runway".
    prefix: ClassVar[str]
    #: Further prefixes, for clients that keep only the host of a base URL.
    also_below: ClassVar[tuple[str, ...]] = ()
    #: The submission field with the prompt.
    prompt_field: ClassVar[str] = "prompt"
    #: Lifetime of a result URL.
    link_lifetime: ClassVar[timedelta]

    def __init__(self, world: World) -> None:
        self.world = world

    @abstractmethod
    def environment(self, origin: str) -> dict[str, str]:
        """The variables that point this vendor's client at the simulator at `origin`."""

    @abstractmethod
    def endpoints(self) -> Sequence[Endpoint]:
        """The vendor's routes, in the order of a job's use."""

    @abstractmethod
    def authorize(self, request: web.Request) -> None:
        """Raise Refusal unless the request has plausible credentials."""

    @abstractmethod
    def error(self, request: web.Request, refusal: Refusal) -> web.Response:
        """The refusal in the vendor's format."""

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        """The prompt the request is about, for `match_prompt`; "" if unknown."""
        if step is Step.SUBMIT:
            try:
                prompt = (await read_object(request)).get(self.prompt_field)
            except Refusal:
                return ""
            return prompt if isinstance(prompt, str) else ""
        operation = self.world.operations.find(self.name, self.operation_id(request))
        return "" if operation is None else operation.order.prompt

    def operation_id(self, request: web.Request) -> str:
        return request.match_info.get("id", "")

    def accept(self, request: web.Request, order: Order) -> Operation:
        """Accept and bill; raises Refusal for an unknown `[sim:…]`."""
        try:
            return self.world.accept(request, order)
        except UnknownScript as error:
            raise Refusal(400, str(error)) from error

    def check_cap(self, lane: str, refusal: Refusal) -> int | None:
        """The slots left in a lane, None without a cap; raises `refusal` if there are none."""
        cap = self.world.options.cap
        if cap is None:
            return None
        left = cap - self.world.operations.occupied(self.name, lane)
        if left <= 0:
            raise refusal
        return left

    def phase(self, operation: Operation) -> Phase:
        return operation.phase(self.world.operations.now())

    def link(self, request: web.Request, operation: Operation) -> str:
        """A new result URL, on the host the client used."""
        return self.link_from(origin_of(request), operation)

    def link_from(self, origin: str, operation: Operation) -> str:
        """A new result URL outside a request."""
        path = f"{self.prefix}/download/{operation.id}"
        return self.world.links.mint(path, origin=origin, lifetime=self.link_lifetime)

    def download_endpoint(self) -> Endpoint:
        """The route of `link`, for vendors with signed URLs."""
        return Endpoint("GET", "/download/{id}", self.download, Step.DOWNLOAD, public=True)

    def shift_listing(self, request: web.Request) -> None:
        """Delete rows of the pages before the one that is asked for, where there is a listing.

        They are other people's: what our clients asked for is never lost so.
        """
        raise NotImplementedError(f"{self.name} has no listing that shifts")

    async def download(self, request: web.Request) -> web.Response:
        operation = self.world.operations.find(self.name, self.operation_id(request))
        if operation is None:
            raise Refusal(404, "no such video")
        try:
            self.world.links.spend(request.raw_path, operation)
        except downloads.DeadLink as error:
            return downloads.refused(error)
        film = await self.world.studio.film(
            operation.order.clip, operation.fingerprint, operation.order.slate
        )
        is_slow = Script.DRIP in operation.scripts
        return downloads.video(request, film, seconds=self.world.options.drip if is_slow else 0.0)


def origin_of(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def reply(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON response."""
    content = json.dumps(body).encode()
    return web.Response(
        status=status, body=content, headers=headers, content_type="application/json"
    )


async def read_object(request: web.Request) -> dict[str, object]:
    """The JSON object in the body; raises Refusal for anything else."""
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise Refusal(400, "The request body is not valid JSON.") from error
    if not isinstance(body, dict):
        raise Refusal(400, "The request body is not a JSON object.")
    return body


def moderated(operation: Operation) -> bool:
    """Whether a failed operation failed by moderation."""
    return Script.MODERATE in operation.scripts
