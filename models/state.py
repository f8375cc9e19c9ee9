"""The state machines as data: the states and the transitions between them."""

from enum import StrEnum


class JobState(StrEnum):
    """A job's state; it only moves forward, and a final state never changes."""

    #: Accepted and durable; not sent to a provider yet.
    PENDING = "pending"
    #: An attempt was committed as sent; the provider may have received it.
    SUBMITTING = "submitting"
    #: A provider accepted an attempt and is working on it.
    PROCESSING = "processing"
    #: A provider has made a video, which is being downloaded into our storage.
    STORING = "storing"
    #: At least one video was stored. Final.
    COMPLETE = "complete"
    #: The job ended without a video. Final.
    FAILED = "failed"
    #: Its owner cancelled it. Final.
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not JOB_NEXT[self]


class AttemptState(StrEnum):
    """The state of one paid POST; it may still change after its job's final state.

    No worker acts on an attempt in a final state. Late evidence of an operation still moves an
    attempt without an operation id to `accepted`.
    """

    #: Not sent.
    PLANNED = "planned"
    #: Committed as sent just before the POST: from here on it may have been charged.
    SENT = "sent"
    #: The POST's response is unknown; only evidence or proof of absence settles it.
    UNKNOWN = "unknown"
    #: The provider returned an operation id.
    ACCEPTED = "accepted"
    #: The provider did not accept it, according to its response or two look-ups. Final.
    REFUSED = "refused"
    #: The operation made its videos. Final.
    SUCCEEDED = "succeeded"
    #: The operation failed. Final.
    FAILED = "failed"
    #: Released before it was sent, or cancelled at the provider. Final.
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_ATTEMPT_STATES


class OutputState(StrEnum):
    """The state of one requested video."""

    #: Not made yet.
    EXPECTED = "expected"
    #: Made; the provider has returned a link to it.
    READY = "ready"
    #: In our storage. Final.
    STORED = "stored"
    #: Not stored by its job's end. An operator may still have it stored: see `retry-store`.
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return not OUTPUT_NEXT[self]


class DeliveryState(StrEnum):
    """The state of one webhook event's delivery to one URL."""

    #: A try is due or under way.
    PENDING = "pending"
    #: The receiver answered 2xx. Final until replayed.
    DELIVERED = "delivered"
    #: The receiver answered 410. Final until replayed.
    GONE = "gone"
    #: Every try in the schedule failed. Final until replayed.
    EXHAUSTED = "exhausted"


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

#: Transitions. Only an attempt without an operation id moves to `accepted`, and it needs one: from
#: planned, refused, failed and cancelled on late evidence.
ATTEMPT_NEXT: dict[AttemptState, frozenset[AttemptState]] = {
    # A planned attempt fails if its payload cannot be built.
    _A.PLANNED: frozenset({_A.SENT, _A.CANCELLED, _A.FAILED, _A.ACCEPTED}),
    # Back to planned only on proof that it was not accepted: no connection, or a listed refusal.
    _A.SENT: frozenset({_A.PLANNED, _A.ACCEPTED, _A.REFUSED, _A.UNKNOWN}),
    # Accepted on evidence from a look-up or a callback; refused on proof of absence.
    _A.UNKNOWN: frozenset({_A.ACCEPTED, _A.REFUSED}),
    _A.ACCEPTED: frozenset({_A.SUCCEEDED, _A.FAILED, _A.CANCELLED}),
    _A.REFUSED: frozenset({_A.ACCEPTED}),
    _A.SUCCEEDED: frozenset(),
    _A.FAILED: frozenset({_A.ACCEPTED}),
    _A.CANCELLED: frozenset({_A.ACCEPTED}),
}

#: States of attempts that no worker acts on.
FINAL_ATTEMPT_STATES = frozenset({_A.REFUSED, _A.SUCCEEDED, _A.FAILED, _A.CANCELLED})

OUTPUT_NEXT: dict[OutputState, frozenset[OutputState]] = {
    _O.EXPECTED: frozenset({_O.READY, _O.FAILED}),
    _O.READY: frozenset({_O.STORED, _O.FAILED}),
    _O.STORED: frozenset(),
    # Only on an operator's request (`recovered_at`): the job's state and price do not change.
    _O.FAILED: frozenset({_O.STORED}),
}

#: The public status of each state.
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
    """The public status of a state; `processing` for a state that only a newer version knows."""
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
