"""The tasks of letters: each message is acknowledged after its commit, or requeued."""

import random
from concurrent.futures import Future

import structlog
from celery.exceptions import Reject

from tasks import hints
from tasks.crash import crash_point
from tasks.letters import BOUND, Letter, Made, take_in
from tasks.loop import runtime
from tasks.pump.running import stopping

log = structlog.get_logger()

#: Shortest and longest delay before a message is requeued, in seconds.
WAIT = (1.0, 5.0)


def enqueue(letter: Letter) -> str:
    """Process a message; returns the id of its job or batch, or why there is none.

    Raises:
        Reject: nothing was committed, so the broker delivers the message again.
    """
    future: Future[Made | None] | None = None
    try:
        ours = runtime()
        future = ours.start(take_in(ours.engine, letter))
        made = future.result(timeout=2 * BOUND)
    except Exception as error:  # noqa: BLE001 - after any error, the message must not be lost
        if future is not None:
            future.cancel()
        log.warning("intake.put_off", task_id=letter.task_id, error=type(error).__name__)
        stopping.wait(random.uniform(*WAIT))
        raise Reject("the message could not be recorded", requeue=True) from None
    crash_point("enqueue.committed")
    if made is None:
        return "kept as a dead letter"
    for what, lane in made.hints:
        hints.send(what, lane)
    return made.id
