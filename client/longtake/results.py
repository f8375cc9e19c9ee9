"""What the API answers, as frozen dataclasses; `raw` is the whole object as it came."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import datetime
from typing import Any, Self, TypeVar

Json = Mapping[str, Any]
T = TypeVar("T")

JOB_FINAL = frozenset({"complete", "failed", "cancelled"})
BATCH_FINAL = frozenset({"completed", "failed", "cancelled"})


def _by(reader: Callable[[Any], Any]) -> Mapping[str, Any]:
    """The metadata of a field whose value is made by `reader`."""
    return {"reader": reader}


def _time(value: Any) -> datetime:
    return datetime.fromisoformat(value)


_TIME = _by(_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An object of the API; fields that it did not send are None."""

    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read an object of the API; ValueError if it is none, or lacks what is always there."""
        if not isinstance(raw, Mapping):
            raise ValueError(f"{cls.__name__}: an object is expected")  # noqa: TRY004 - an answer
        named = {each.name: each for each in fields(cls) if each.name != "raw"}
        lacks = [name for name, each in named.items() if _needed(each) and raw.get(name) is None]
        if lacks:
            raise ValueError(f"{cls.__name__}: {', '.join(lacks)} is missing")
        given = {name: raw[name] for name in named if raw.get(name) is not None}
        try:
            read = {name: _reader(named[name])(value) for name, value in given.items()}
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from None
        return cls(raw=raw, **read)

    @classmethod
    def many(cls, raw: Any) -> tuple[Self, ...]:
        """Read an array of them; ValueError as `of`."""
        if raw is None:
            return ()
        if not isinstance(raw, list | tuple):
            raise ValueError(f"{cls.__name__}: an array is expected")  # noqa: TRY004 - as above
        return tuple(cls.of(each) for each in raw)


def _needed(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _reader(each: Field[Any]) -> Callable[[Any], Any]:
    reader: Callable[[Any], Any] = each.metadata.get("reader", lambda value: value)
    return reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Result):
    """Why a job or a line failed."""

    code: str | None = None
    message: str | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError(Problem):
    """An invalid line of a batch; lines count from 1."""

    line: int | None = None
    custom_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Result):
    """One video of a job: `pending`, `stored`, `failed` or `deleted`."""

    index: int
    status: str
    #: A signed link, valid for an hour.
    url: str | None = field(default=None, repr=False)
    sha256: str | None = None
    bytes: int | None = None
    content_type: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    error: Problem | None = field(default=None, metadata=_by(Problem.of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Result):
    """A video generation: `pending`, `processing`, then `complete`, `failed` or `cancelled`."""

    id: str
    status: str
    model: str | None = None
    prompt: str | None = None
    progress_percent: int | None = None
    estimated_remaining_seconds: int | None = None
    estimated_cost_usd: float | None = None
    cost_usd: float | None = None
    #: Once the job is final.
    outputs: tuple[Output, ...] = field(default=(), metadata=_by(Output.many))
    error: Problem | None = field(default=None, metadata=_by(Problem.of))
    #: A signed link to the first stored video, valid for an hour.
    video_url: str | None = field(default=None, repr=False)
    app_id: str | None = None
    retry_of: str | None = None
    batch_id: str | None = None
    batch_line: int | None = None
    custom_id: str | None = None
    metadata: Json | None = None
    created_at: datetime | None = field(default=None, metadata=_TIME)
    finished_at: datetime | None = field(default=None, metadata=_TIME)
    deadline_at: datetime | None = field(default=None, metadata=_TIME)

    @property
    def is_final(self) -> bool:
        return self.status in JOB_FINAL

    @property
    def videos(self) -> tuple[Output, ...]:
        """The outputs that are stored."""
        return tuple(each for each in self.outputs if each.status == "stored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts(Result):
    """How many lines of a batch are in each state; `invalid` ones were skipped."""

    total: int = 0
    pending: int = 0
    processing: int = 0
    complete: int = 0
    failed: int = 0
    cancelled: int = 0
    invalid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Result):
    """A batch: `in_progress`, `cancelling`, then `completed`, `failed` or `cancelled`."""

    id: str
    status: str
    counts: Counts = field(metadata=_by(Counts.of))
    name: str | None = None
    app_id: str | None = None
    retry_of: str | None = None
    metadata: Json | None = None
    estimated_cost_usd: float | None = None
    reserved_cost_usd: float | None = None
    cost_usd: float | None = None
    #: The skipped lines, at most 1000 of `error_count`.
    errors: tuple[LineError, ...] = field(default=(), metadata=_by(LineError.many))
    error_count: int = 0
    created_at: datetime | None = field(default=None, metadata=_TIME)
    finished_at: datetime | None = field(default=None, metadata=_TIME)
    deadline_at: datetime | None = field(default=None, metadata=_TIME)

    @property
    def is_final(self) -> bool:
        return self.status in BATCH_FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(Result):
    """What a batch would cost; `invalid` lines, at most 1000 of them in `errors`, cost nothing."""

    lines: int
    invalid: int
    estimated_cost_usd: float
    errors: tuple[LineError, ...] = field(default=(), metadata=_by(LineError.many))


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult(Result):
    """What became of one line of a batch; `invalid` and `deleted` ones have no job."""

    line: int
    status: str
    custom_id: str | None = None
    job: Job | None = field(default=None, metadata=_by(Job.of))
    error: Problem | None = field(default=None, metadata=_by(Problem.of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted(Result):
    """A deleted job."""

    id: str
    deleted_at: datetime | None = field(default=None, metadata=_TIME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Result):
    """What one group of jobs was and cost; the group's own name is in `raw`."""

    jobs: int = 0
    complete: int = 0
    failed: int = 0
    cancelled: int = 0
    videos: int = 0
    video_seconds: float = 0.0
    cost_usd: float = 0.0
    reserved_usd: float = 0.0
    success_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Result):
    """A model that can be asked for; `set_to_use` says what its operator must set first.

    `retired` tells since when its vendor makes it no longer, and what to use instead.
    `paused` tells why its jobs wait now: a code, and seconds until it is tried again, if known.
    """

    id: str
    aliases: tuple[str, ...] = field(default=(), metadata=_by(tuple))
    title: str | None = None
    available: bool = False
    provider: str | None = None
    set_to_use: str | None = None
    retired: Json | None = None
    paused: Json | None = None
    limits: Json | None = None
    price: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """One server-sent event; `data` is JSON, or text where it is none."""

    kind: str
    #: Give it as `last_event_id` to go on after it.
    id: str | None
    data: Any = field(default=None, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether it tells a final state, after which no event follows."""
        return isinstance(self.data, dict) and self.data.get("status") in JOB_FINAL | BATCH_FINAL
