"""The state machines, as data: which states there are and which may follow which."""

from enum import StrEnum
from typing import Literal


class JobState(StrEnum):
    """Where a job is; it only ever moves forward, and a final state never changes."""

    #: Accepted and durable; nothing was sent to a provider.
    PENDING = "pending"
    #: An attempt was committed as sent; the provider may or may not have heard us.
    SUBMITTING = "submitting"
    #: A provider accepted an attempt and works on it.
    PROCESSING = "processing"
    #: A provider has finished; the video is being brought into our storage.
    STORING = "storing"
    #: At least one video is stored. Final.
    COMPLETE = "complete"
    #: No video will come. Final.
    FAILED = "failed"
    #: Its owner no longer wants it. Final.
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not JOB_NEXT[self]


class AttemptState(StrEnum):
    """One paid POST: its states outlive the job's final state.

    A final state is one that nobody works on. Evidence of an operation, which may come late, still
    makes an attempt accepted that had none.
    """

    #: Nothing was sent.
    PLANNED = "planned"
    #: Committed as sent just before the POST: from here on money may have been spent.
    SENT = "sent"
    #: The POST's answer is not known; only a look-up may settle it.
    UNKNOWN = "unknown"
    #: The provider gave an operation id.
    ACCEPTED = "accepted"
    #: The provider took no job, as its answer or two look-ups said. Final.
    REFUSED = "refused"
    #: The operation made its videos. Final.
    SUCCEEDED = "succeeded"
    #: The operation failed. Final.
    FAILED = "failed"
    #: Released before it was sent, or cancelled upstream. Final.
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_ATTEMPT_STATES


class OutputState(StrEnum):
    """One video that was asked for."""

    #: No provider has made it yet.
    EXPECTED = "expected"
    #: The provider has a link to it.
    READY = "ready"
    #: It is ours. Final.
    STORED = "stored"
    #: It will not come, unless an operator has it brought in after its job's end.
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return not OUTPUT_NEXT[self]


class DeliveryState(StrEnum):
    """One webhook event on its way to one address."""

    PENDING = "pending"
    #: A try was answered with 2xx. Final until replayed.
    DELIVERED = "delivered"
    #: The receiver answered 410. Final until replayed.
    GONE = "gone"
    #: The schedule's last try failed. Final until replayed.
    EXHAUSTED = "exhausted"


class What(StrEnum):
    """What an unfinished thing waits for: the kinds of rows in the `due` table."""

    #: id: an attempt that is planned, or sent without an answer. Lane: its account.
    SUBMIT = "submit"
    #: id: an attempt that was accepted. Lane: its account.
    POLL = "poll"
    #: id: an attempt whose POST has no known answer. Lane: its account.
    LOOK_UP = "look_up"
    #: id: an accepted attempt that nobody wants any more. Lane: its account.
    CANCEL = "cancel"
    #: id: an output whose link is known, or one of which nothing may stay. Lane: its account.
    STORE = "store"
    #: id: a webhook delivery. Lane: the destination's host.
    DELIVER = "deliver"
    #: id: a job, due at its deadline. Lane: "-".
    EXPIRE = "expire"

    @property
    def table(self) -> Literal["attempt", "output", "delivery", "job"]:
        """The table of the rows that due rows of this kind name."""
        match self:
            case What.STORE:
                return "output"
            case What.DELIVER:
                return "delivery"
            case What.EXPIRE:
                return "job"
            case _:
                return "attempt"


#: Work of a kind is due on a lane; None is any lane. Workers may be told, and need not be.
Hint = tuple[What, str | None]


_J = JobState
_A = AttemptState
_O = OutputState

JOB_NEXT: dict[JobState, frozenset[JobState]] = {
    _J.PENDING: frozenset({_J.SUBMITTING, _J.FAILED, _J.CANCELLED}),
    _J.SUBMITTING: frozenset({_J.PROCESSING, _J.FAILED, _J.CANCELLED}),
    _J.PROCESSING: frozenset({_J.STORING, _J.FAILED, _J.CANCELLED}),
    _J.STORING: frozenset({_J.COMPLETE, _J.FAILED, _J.CANCELLED}),
    _J.COMPLETE: frozenset(),
    _J.FAILED: frozenset(),
    _J.CANCELLED: frozenset(),
}

#: What may follow which. To `accepted` it takes an operation id, and only an attempt that has none
#: yet moves there: from planned, refused, failed and cancelled by evidence that came late.
ATTEMPT_NEXT: dict[AttemptState, frozenset[AttemptState]] = {
    # A planned attempt fails when its payload cannot even be built.
    _A.PLANNED: frozenset({_A.SENT, _A.CANCELLED, _A.FAILED, _A.ACCEPTED}),
    # Back to planned only on proof that nothing was accepted: not connected, or a listed refusal.
    _A.SENT: frozenset({_A.PLANNED, _A.ACCEPTED, _A.REFUSED, _A.UNKNOWN}),
    # Adopted by a look-up or a callback; refused when its absence is proven.
    _A.UNKNOWN: frozenset({_A.ACCEPTED, _A.REFUSED}),
    _A.ACCEPTED: frozenset({_A.SUCCEEDED, _A.FAILED, _A.CANCELLED}),
    _A.REFUSED: frozenset({_A.ACCEPTED}),
    _A.SUCCEEDED: frozenset(),
    _A.FAILED: frozenset({_A.ACCEPTED}),
    _A.CANCELLED: frozenset({_A.ACCEPTED}),
}

#: Attempts that have ended, as far as anybody knows.
FINAL_ATTEMPT_STATES = frozenset({_A.REFUSED, _A.SUCCEEDED, _A.FAILED, _A.CANCELLED})

OUTPUT_NEXT: dict[OutputState, frozenset[OutputState]] = {
    _O.EXPECTED: frozenset({_O.READY, _O.FAILED}),
    _O.READY: frozenset({_O.STORED, _O.FAILED}),
    _O.STORED: frozenset(),
    # By an operator's word alone, and marked so: neither the job's end nor its price changes.
    _O.FAILED: frozenset({_O.STORED}),
}

#: What a caller sees of each state.
PUBLIC_STATUS: dict[JobState, str] = {
    _J.PENDING: "pending",
    _J.SUBMITTING: "processing",
    _J.PROCESSING: "processing",
    _J.STORING: "processing",
    _J.COMPLETE: "complete",
    _J.FAILED: "failed",
    _J.CANCELLED: "cancelled",
}


def public_status(state: str) -> str:
    """What a caller sees of a state; of one that a newer version wrote, that it is at work."""
    return PUBLIC_STATUS[_J(state)] if state in set(_J) else "processing"


FINAL_JOB_STATES = frozenset(state for state in JobState if state.is_final)


def job_sources(to: JobState) -> frozenset[JobState]:
    """The states from which a job may move to `to`."""
    return frozenset(state for state, after in JOB_NEXT.items() if to in after)


def attempt_sources(to: AttemptState) -> frozenset[AttemptState]:
    """The states from which an attempt may move to `to`."""
    return frozenset(state for state, after in ATTEMPT_NEXT.items() if to in after)


def output_sources(to: OutputState) -> frozenset[OutputState]:
    """The states from which an output may move to `to`."""
    return frozenset(state for state, after in OUTPUT_NEXT.items() if to in after)
