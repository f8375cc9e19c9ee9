"""How an upstream is spoken to: the verbs of a provider, the values they take and give.

A verb is a generator: it yields the calls it wants made and is sent their answers, so that each
vendor's conversation reads from top to bottom and yet does no I/O. `providers.exchange` drives it.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol, TypeVar
from urllib.parse import urlencode

from models.failure import Failure
from providers import answers
from transport.base import Part, Response

T = TypeVar("T")

#: How nearly every vendor says that it has no such operation.
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One set of credentials at one provider; its name is the lane of its submits and polls."""

    name: str
    provider: str
    #: Exactly what the vendor's SDK takes as base URL, without a trailing slash.
    base_url: str
    #: The vendor's own variable names and their values.
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request in a provider's own terms; the exchange adds base address and credentials."""

    method: str
    #: Relative to the account's base URL ("/v1/tasks/1"), or an absolute URL that the vendor gave.
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: tuple[Part, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Answers besides 2xx that the verb reads itself; all others become a ProviderError.
    accept: frozenset[int] = frozenset()
    #: The request that costs money: exactly one call of a submit is.
    paid: bool = False
    timeout: float = 30.0
    max_bytes: int = 8 * 2**20

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def content(self) -> bytes | None:
        if self.json is None:
            return None
        return json.dumps(self.json, separators=(",", ":"), ensure_ascii=False).encode()


#: A verb's conversation: yields calls, is sent responses, returns its result.
Flow = Generator[Call, Response, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One attempt's request, resolved against a route: every value is one that the model takes."""

    attempt_id: str
    #: Unique per attempt: sent as external id where the vendor takes one.
    marker: str
    #: The upstream's own model name.
    upstream: str
    prompt: str
    duration_seconds: int
    resolution: str
    aspect_ratio: str
    width: int
    height: int
    #: Videos that this one attempt is to make.
    count: int = 1
    fps: int | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    #: Pictures are https URLs or data URIs.
    image: str | None = None
    last_image: str | None = None
    reference_images: tuple[str, ...] = ()
    cfg_scale: float | None = None
    motion_bucket_id: int | None = None
    person_generation: str | None = None
    watermark: bool | None = None
    audio: bool | None = None
    #: Where the vendor may tell us of progress; None when we have no public address.
    callback_url: str | None = None


class Phase(StrEnum):
    """An operation's state, in one vocabulary for all vendors."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A finished video as the vendor gives it: a link, or the bytes themselves."""

    url: str | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    #: The bytes came once and can't be had again by polling.
    only_here: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one look at an operation showed."""

    phase: Phase
    #: 0..1 as the vendor reports it; None where it reports none.
    progress: float | None = None
    videos: tuple[Video, ...] = ()
    #: Why it failed or was cancelled.
    failure: Failure | None = None
    #: What the vendor says it charges, in millionths of a US dollar; None where it doesn't say.
    cost_micros: int | None = None
    #: Seconds after which the vendor wants the next look.
    poll_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider took the attempt; a synchronous one has its update at once."""

    operation_id: str
    update: Update | None = None


class LookUp(StrEnum):
    """How an attempt whose answer was lost can be found at the provider."""

    #: By the marker that we sent as external id: exact.
    EXTERNAL_ID = "external_id"
    #: By a listing of recent operations that echoes the marker: exact once the listing caught up.
    LIST = "list"
    #: Only by the provider's own callback to our unguessable address.
    CALLBACK = "callback"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A look-up's result: the operation that carries the marker, or proof that none does."""

    operation_id: str | None
    #: Operations that look alike but carry no marker: for the operator, never adopted.
    look_alikes: tuple[str, ...] = ()
    #: Whether finding none proves that there is none.
    is_proof: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can and can't do, as data; `sources` says where each fact is from."""

    #: Reports numeric progress; otherwise it is estimated.
    progress: bool = False
    #: Has a verb that cancels a running operation.
    cancel: bool = False
    #: Share of the price that a cancelled running operation costs (0..1).
    cancelled_costs: float = 1.0
    look_up: tuple[LookUp, ...] = ()
    #: Seconds by which a listing or look-up may lag behind an accepted POST.
    look_up_delay: float = 0.0
    #: HTTP statuses that prove that a paid POST was not accepted.
    refusals: frozenset[int] = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
    #: Seconds in which a paid POST is answered or cut off; the operator's setting where None.
    submit_timeout: float | None = None
    #: Operations that one poll may ask about.
    poll_many: int = 1
    #: Shortest and longest wait between two polls of one operation, in seconds.
    poll_floor: float = 2.0
    poll_ceiling: float = 30.0
    #: Videos that one operation can make.
    max_count: int = 1
    #: Takes pictures as data URIs only; it fetches no links.
    inline_pictures: bool = False
    #: Seconds for which a result's link lives.
    result_lives: float | None = None
    #: The link needs our credentials.
    result_needs_key: bool = False
    #: While a submit is open the vendor calls its callback address, and refuses it without a reply.
    callback_challenged: bool = False
    #: The submit call is the whole job and stays open until it is done.
    synchronous: bool = False
    #: Fact to source, for `/v1/models` and for the next engineer.
    sources: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """One upstream. Every verb is pure: see the module's docstring.

    What has a body here is what most vendors share; a provider says only what differs.
    """

    name: ClassVar[str]
    #: Alternatives of variables that must all be set: (("A",), ("B", "C")) is A, or B and C.
    #: The very first one is the bearer key, unless `authorize` says otherwise.
    credentials: ClassVar[tuple[tuple[str, ...], ...]]
    base_variable: ClassVar[str]
    default_base: ClassVar[str]
    #: The default base no longer speaks this contract: only an address of the operator's does.
    needs_base: ClassVar[bool] = False
    capabilities: ClassVar[Capabilities]
    #: The variable that holds the secret of the vendor's callbacks; None where it signs none.
    callback_secret: ClassVar[str | None] = None

    def account(self, variables: Mapping[str, str], *, base_url: str | None) -> Account:
        """The account that the vendor's variables give; what they point at is read here, once.

        Raises:
            SettingsError: a variable's value can't be used; the message names it.
        """
        return Account(
            name=self.name,
            provider=self.name,
            base_url=base_url or self.default_base,
            credentials=variables,
        )

    def root(self, account: Account) -> str:  # noqa: ARG002 - for those whose paths need it
        """What stands before every relative path because of the account, such as its project."""
        return ""

    def address(self, call: Call, account: Account) -> Call:  # noqa: ARG002 - for those who need it
        """The call with what only the account knows, such as the gate that it goes through."""
        return call

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - for tokens that expire
        """Headers that carry the credentials, here the bearer key; `now` is Unix time."""
        return {"authorization": f"Bearer {account.credentials[self.credentials[0][0]]}"}

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """Start one operation; exactly one of its calls is `paid`."""
        ...

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """Look at up to `poll_many` operations; one that is missing from the result is gone.

        One answer that can't be read fails the whole call: each is then to be asked for alone.

        Raises:
            UnknownStatus: the vendor used a status word that is not documented.
        """
        ...

    def cancel(self, operation_id: str) -> Flow[None]:  # noqa: ARG002 - for those that offer it
        """Ask the provider to stop; only called where `capabilities.cancel`."""
        raise NotOffered(self.name, "cancel")

    def fetch(self, video: Video) -> Call:
        """The call that downloads a finished video: its link as it was given.

        A link to somewhere else than the account's own address gets no key from the exchange.
        """
        return Call(method="GET", path=answers.link(video.url), headers={"accept": "*/*"})

    def look_up(self, ask: Ask) -> Flow[Found]:  # noqa: ARG002 - for those that offer it
        """Find the operation that carries the marker; only called where it can be asked for.

        That is where `capabilities.look_up` has EXTERNAL_ID or LIST.
        """
        raise NotOffered(self.name, "look-up")

    def explain(self, response: Response) -> Failure:
        """What an error answer means, in the one tree."""
        ...

    def callback_operation(self, body: bytes) -> str | None:  # noqa: ARG002 - for those that call
        """The operation that a callback speaks of, or None where its body doesn't say.

        Whatever a stranger may send is None, never an error.
        """
        return None

    def operation_told(self, told: str, *, upstream: str) -> str:  # noqa: ARG002 - for those that tell a part
        """The operation's id, of which a callback on the model `upstream` may tell only a part."""
        return told

    def callback_reply(self, body: bytes) -> bytes | None:  # noqa: ARG002 - for those that ask
        """The JSON that a callback must be answered with; None where it only tells something.

        Whatever a stranger may send is None, never an error.
        """
        return None

    def callback_is_genuine(
        self,
        headers: Mapping[str, str],  # noqa: ARG002 - for those that sign
        body: bytes,  # noqa: ARG002
        *,
        secret: str | None,  # noqa: ARG002
        now: float,  # noqa: ARG002
    ) -> bool:
        """Whether the vendor sent it; without a signature its unguessable address is the proof."""
        return True


class ProviderError(Exception):
    """A provider answered with an error; `failure` says what it means."""

    def __init__(self, failure: Failure, *, status: int | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status


class NotOffered(Exception):
    """A verb was called that the provider's capabilities rule out: a mistake of the caller's."""

    def __init__(self, provider: str, verb: str) -> None:
        super().__init__(f"{provider} offers no {verb}; its capabilities say so")
