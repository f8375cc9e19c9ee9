"""The queues in which messages wait, and which of them takes a lane's hints."""

from enum import StrEnum

from models.verbs import DECLARED, What
from providers.registry import PROVIDERS, provider_of


class Queue(StrEnum):
    """Where messages wait; submit has slots of its own, so that no pump delays a fresh job."""

    INTAKE = "intake"
    #: Pictures that users have links to, which may hang.
    PREPARE = "prepare"
    SUBMIT = "submit"
    #: Of synchronous providers, whose POST stays open until the video is made: minutes.
    SUBMIT_LONG = "submit_long"
    POLL = "poll"
    STORE = "store"
    DELIVER = "deliver"
    CONTROL = "control"


_USUAL = {declared.what: Queue(declared.queue) for declared in DECLARED}


def queue_of(what: What, lane: str | None) -> Queue:
    """The queue for a kind's and lane's hints: POSTs of minutes and of moments never mix."""
    # A submit's lane is an account.
    provider = PROVIDERS.get(provider_of(lane or ""))
    if what is What.SUBMIT and provider is not None and provider.capabilities.synchronous:
        return Queue.SUBMIT_LONG
    return _USUAL[what]
