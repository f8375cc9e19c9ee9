"""Which queue takes a lane's hints. Apart from the queues, since beat needs no providers."""

from models.verbs import DECLARED, What
from providers.registry import PROVIDERS, provider_of
from tasks.queues import Queue

_USUAL = {declared.what: Queue(declared.queue) for declared in DECLARED}


def queue_of(what: What, lane: str | None) -> Queue:
    """The queue for a kind's and lane's hints: POSTs of minutes and of moments never mix."""
    # A submit's lane is an account.
    provider = PROVIDERS.get(provider_of(lane or ""))
    if what is What.SUBMIT and provider is not None and provider.capabilities.synchronous:
        return Queue.SUBMIT_LONG
    return _USUAL[what]
