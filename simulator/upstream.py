"""What every simulated vendor provides, and what it is given: accepting, result links, JSON."""

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
    """The vendor says no. `Upstream.error` turns it into the vendor's own shape."""

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
    """One route below the vendor's prefix."""

    method: str
    path: str
    handle: Handler
    #: What faults know it by; None for routes that are no part of a job.
    step: Step | None
    #: A link that needs no credentials.
    public: bool = field(default=False, kw_only=True)


class Upstream(ABC):
    """One vendor. A new one is a subclass in `simulator.upstreams` and a line in its list."""

    #: The provider's name in faults and on the bill.
    name: ClassVar[str]
    #: Where its API begins, such as "/runway".
    prefix: ClassVar[str]
    #: Where it begins as well, for clients that keep nothing of a base address but its host.
    also_below: ClassVar[tuple[str, ...]] = ()
    #: The member of a submission that holds the prompt.
    prompt_field: ClassVar[str] = "prompt"
    #: How long a result link lives.
    link_lifetime: ClassVar[timedelta]

    def __init__(self, world: World) -> None:
        self.world = world

    @abstractmethod
    def environment(self, origin: str) -> dict[str, str]:
        """The variables that point a client of this vendor at the simulator at `origin`."""

    @abstractmethod
    def endpoints(self) -> Sequence[Endpoint]:
        """The vendor's routes, in the order in which a job meets them."""

    @abstractmethod
    def authorize(self, request: web.Request) -> None:
        """Raises Refusal unless the request carries credentials that look right."""

    @abstractmethod
    def error(self, request: web.Request, refusal: Refusal) -> web.Response:
        """The refusal in the vendor's shape."""

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        """The prompt of what the request is about, for `match_prompt`; "" if unknown."""
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
        """Accept and bill. Raises Refusal for a `[sim:…]` that does not exist."""
        try:
            return self.world.accept(request, order)
        except UnknownScript as error:
            raise Refusal(400, str(error)) from error

    def phase(self, operation: Operation) -> Phase:
        return operation.phase(self.world.operations.now())

    def link(self, request: web.Request, operation: Operation) -> str:
        """A fresh result link, on the host by which the client knows us."""
        return self.link_from(origin_of(request), operation)

    def link_from(self, origin: str, operation: Operation) -> str:
        """The same, where there is no request to answer."""
        path = f"{self.prefix}/download/{operation.id}"
        return self.world.links.mint(path, origin=origin, lifetime=self.link_lifetime)

    def download_endpoint(self) -> Endpoint:
        """The route of `link`, for vendors whose links carry their own signature."""
        return Endpoint("GET", "/download/{id}", self.download, Step.DOWNLOAD, public=True)

    async def download(self, request: web.Request) -> web.Response:
        operation = self.world.operations.find(self.name, self.operation_id(request))
        if operation is None:
            raise Refusal(404, "no such video")
        try:
            self.world.links.spend(request.raw_path, operation)
        except downloads.DeadLink as error:
            return downloads.refused(error)
        film = await self.world.studio.film(operation.order.clip, operation.fingerprint)
        return downloads.video(request, film)


def origin_of(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def reply(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer."""
    content = json.dumps(body).encode()
    return web.Response(
        status=status, body=content, headers=headers, content_type="application/json"
    )


async def read_object(request: web.Request) -> dict[str, object]:
    """The JSON object in the body. Raises Refusal for anything else."""
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise Refusal(400, "The request body is not valid JSON.") from error
    if not isinstance(body, dict):
        raise Refusal(400, "The request body is not a JSON object.")
    return body


def moderated(operation: Operation) -> bool:
    """Whether a failed operation failed by moderation rather than by accident."""
    return Script.MODERATE in operation.scripts
