"""The provider interface: its verbs, and the values they take and return.

A verb is a generator: it yields calls and is sent the responses, so each vendor's protocol reads
from top to bottom yet does no I/O. `providers.exchange` drives it.
"""

import json
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol, TypeVar
from urllib.parse import urlencode

from models.failure import Failure
from models.scene import Scene
from providers import answers
from transport.base import Part, Response

T = TypeVar("T")

#: Nearly every vendor's status for an unknown operation.
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One set of credentials at one provider; its name is the lane for submits and polls."""

    name: str
    provider: str
    #: The base URL as the vendor's SDK takes it, without a trailing slash.
    base_url: str
    #: Values by the vendor's own variable names.
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A vendor's API that the vendor no longer serves, though gateways may."""

    vendor: str
    on: date
    #: Models of the catalogue that the vendor names as successors.
    instead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One provider request; the exchange adds base URL and credentials."""

    method: str
    #: Relative to the account's base URL ("/v1/tasks/1"), or an absolute URL from the vendor.
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: tuple[Part, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Statuses besides 2xx that the verb handles; all others raise ProviderError.
    accept: frozenset[int] = frozenset()
    #: Whether this is the request that costs money: exactly one call of a submit is.
    paid: bool = False
    timeout: float = 30.0
    max_bytes: int = 8 * 2**20

    @property
    def target(self) -> str:
        """Path and query for the request line."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def content(self) -> bytes | None:
        if self.json is None:
            return None
        return json.dumps(self.json, separators=(",", ":"), ensure_ascii=False).encode()


#: A verb: yields calls, is sent responses, returns its result.
Flow = Generator[Call, Response, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One attempt's request, resolved on a route: every value is supported by the model."""

    attempt_id: str
    #: Unique per attempt; sent as the external id if the vendor has one.
    marker: str
    #: The upstream's own model name.
    upstream: str
    #: The generation parameters, with pictures as https URLs or data URIs.
    scene: Scene[str] = field(repr=False)
    duration_seconds: int
    resolution: str
    aspect_ratio: str
    width: int
    height: int
    #: Number of videos this attempt makes.
    count: int = 1
    fps: int | None = None
    #: Callback URL for progress; None without a public URL.
    callback_url: str | None = None


class Phase(StrEnum):
    """An operation's state, in one vocabulary for all vendors."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    # An attribute of each member, because testing for one in a set calls a Python `__hash__`.
    is_final: bool

    def __init__(self, word: str) -> None:
        self.is_final = word in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A finished video: a URL, or the bytes themselves."""

    url: str | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    #: The bytes were delivered once; polling cannot return them again.
    only_here: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The result of one poll of an operation."""

    phase: Phase
    #: 0..1 as reported by the vendor; None if not reported.
    progress: float | None = None
    videos: tuple[Video, ...] = ()
    #: Reason for FAILED or CANCELLED.
    failure: Failure | None = None
    #: The vendor's reported charge in millionths of a US dollar; None if not reported.
    cost_micros: int | None = None
    #: The vendor's requested delay before the next poll, in seconds.
    poll_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider accepted the attempt; a synchronous provider includes the update."""

    operation_id: str
    update: Update | None = None


class LookUp(StrEnum):
    """How to find an attempt at the provider after its response was lost."""

    #: By the marker sent as external id: exact.
    EXTERNAL_ID = "external_id"
    #: By a listing of recent operations that echoes the marker: exact once the listing is up to
    #: date.
    LIST = "list"
    #: Only by the provider's callback to our unguessable URL.
    CALLBACK = "callback"
    NONE = "none"


def can_be_asked(ways: Collection[LookUp]) -> bool:
    """Whether a look-up can ask the provider, rather than only wait for its callback."""
    return bool({LookUp.EXTERNAL_ID, LookUp.LIST}.intersection(ways))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A look-up's result: the operation with the marker, or proof that none exists."""

    operation_id: str | None
    #: Similar operations without the marker: shown to the operator, never adopted.
    look_alikes: tuple[str, ...] = ()
    #: Whether an empty result proves that no operation exists.
    is_proof: bool = True
    #: Whether all that can be seen was: another pass may see what shifted under this one.
    is_whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """A provider's capabilities, as data; `sources` documents each."""

    #: Reports numeric progress; otherwise progress is estimated.
    progress: bool = False
    #: Can cancel a running operation.
    cancel: bool = False
    #: Fraction of the price charged for a cancelled running operation (0..1).
    cancelled_costs: float = 1.0
    look_up: tuple[LookUp, ...] = ()
    #: Maximum delay before an accepted POST appears in a listing or look-up, in seconds.
    look_up_delay: float = 0.0
    #: Statuses that prove a paid POST was not accepted.
    refusals: frozenset[int] = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
    #: Timeout of a paid POST in seconds; None: the operator's setting.
    submit_timeout: float | None = None
    #: Maximum operations per poll.
    poll_many: int = 1
    #: Operations on a page of a listing that shows their states and videos; 0: there is none.
    listed: int = 0
    #: Minimum and maximum interval between polls of one operation, in seconds.
    poll_floor: float = 2.0
    poll_ceiling: float = 30.0
    #: Maximum videos per operation.
    max_count: int = 1
    #: Takes images as data URIs only; fetches no URLs.
    inline_pictures: bool = False
    #: Lifetime of a result's URL, in seconds.
    result_lives: float | None = None
    #: Downloading the result requires our credentials.
    result_needs_key: bool = False
    #: During a submit the vendor calls the callback URL, and refuses the request without a reply.
    callback_challenged: bool = False
    #: The submit call stays open until the video is done.
    synchronous: bool = False
    #: Source of each fact, for `/v1/models` and maintainers.
    sources: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """One upstream API. Every verb is pure: see the module docstring.

    Methods with a body are defaults; a provider overrides only what differs.
    """

    name: ClassVar[str]
    #: Alternative sets of required variables: (("A",), ("B", "C")) is A, or B and C. The very first
    #: is the bearer key, unless `authorize` is overridden.
    credentials: ClassVar[tuple[tuple[str, ...], ...]]
    base_variable: ClassVar[str]
    default_base: ClassVar[str]
    #: The vendor serves this API no longer; the operator must name a gateway that does.
    retired: ClassVar[Retired | None] = None
    capabilities: ClassVar[Capabilities]
    #: Variable with the secret for callback signatures; None if callbacks are unsigned.
    callback_secret: ClassVar[str | None] = None
    #: Bytes of a callback's body that are read; a larger one only makes the poll due.
    callback_limit: ClassVar[int] = 256 * 2**10

    def variables(self) -> frozenset[str]:
        """Every variable that the provider reads."""
        wanted = {self.base_variable, *(name for names in self.credentials for name in names)}
        return frozenset(wanted | ({self.callback_secret} if self.callback_secret else set()))

    def account(self, variables: Mapping[str, str], *, base_url: str | None) -> Account:
        """The account for the vendor's variables; reads any files they point to, once.

        Raises:
            SettingsError: a variable's value is unusable; the message names it.
        """
        return Account(
            name=self.name,
            provider=self.name,
            base_url=base_url or self.default_base,
            credentials=variables,
        )

    def root(self, account: Account) -> str:  # noqa: ARG002 - for overrides
        """Path prefix that depends on the account, such as its project."""
        return ""

    def address(self, call: Call, account: Account) -> Call:  # noqa: ARG002 - for overrides
        """The call completed with account-specific values, such as a gate id."""
        return call

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - for tokens that expire
        """Authentication headers, by default a bearer key; `now` is Unix time."""
        return {"authorization": f"Bearer {account.credentials[self.credentials[0][0]]}"}

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """Start one operation; exactly one of its calls is `paid`."""
        ...

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """Poll up to `poll_many` operations; one missing from the result no longer exists.

        One unreadable response fails the whole call; poll each operation separately then.

        Raises:
            UnknownStatus: the vendor used an undocumented status word.
        """
        ...

    def survey(self, wanted: Collection[str]) -> Flow[Mapping[str, Update]]:  # noqa: ARG002 - for overrides
        """The states of those `wanted` operations that a listing shows; see `capabilities.listed`.

        One that is missing may exist all the same, or be unreadable: it is to be polled alone.
        """
        raise NotOffered(self.name, "listing")

    def cancel(self, operation_id: str) -> Flow[None]:  # noqa: ARG002 - for overrides
        """Ask the provider to stop; only called if `capabilities.cancel`.

        Raises:
            ProviderError: with `Fault.GONE` if the provider denies the operation.
        """
        raise NotOffered(self.name, "cancel")

    def fetch(self, video: Video) -> Call:
        """The call that downloads a finished video, by its URL unchanged.

        The exchange sends credentials only to the account's own origin.
        """
        return Call(method="GET", path=answers.link(video.url), headers={"accept": "*/*"})

    def look_up(self, ask: Ask) -> Flow[Found]:  # noqa: ARG002 - for overrides
        """Find the operation with the marker.

        Only called if `capabilities.look_up` includes EXTERNAL_ID or LIST.
        """
        raise NotOffered(self.name, "look-up")

    def explain(self, response: Response) -> Failure:
        """Classify an error response."""
        ...

    def callback_operation(self, body: bytes) -> str | None:  # noqa: ARG002 - for overrides
        """The operation a callback refers to, or None if the body does not name one.

        Malformed input returns None and never raises.
        """
        return None

    def operation_told(self, told: str, *, upstream: str) -> str:  # noqa: ARG002 - for overrides
        """The full operation id, if a callback about model `upstream` gives only part of it."""
        return told

    def callback_reply(self, body: bytes) -> bytes | None:  # noqa: ARG002 - for overrides
        """The JSON reply that a callback requires; None if it needs none.

        Malformed input returns None and never raises.
        """
        return None

    def callback_is_genuine(
        self,
        headers: Mapping[str, str],  # noqa: ARG002 - for overrides
        body: bytes,  # noqa: ARG002
        *,
        secret: str | None,  # noqa: ARG002
        now: float,  # noqa: ARG002
    ) -> bool:
        """Whether the vendor sent it; without signatures, the unguessable URL is the proof."""
        return True


class ProviderError(Exception):
    """A provider returned an error; `failure` classifies it."""

    def __init__(self, failure: Failure, *, status: int | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status


class NotOffered(Exception):
    """A verb was called that the capabilities exclude: a programming error."""

    def __init__(self, provider: str, verb: str) -> None:
        super().__init__(f"{provider} does not support {verb}, according to its capabilities")
