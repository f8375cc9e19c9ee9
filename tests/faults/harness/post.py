"""Jobs that enter as Celery messages: what the broker took is accepted, as a 202 is."""

import secrets
import threading
from collections.abc import Sequence

from kombu.exceptions import OperationalError

from tests.faults.harness.brokers import sender
from tests.faults.harness.client import Json
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.wishes import fresh_name, plain

#: Who makes them: a provider that keeps its credentials.
PROVIDER = "luma_agents"
_COME = "SELECT count(*) = %s AS all_came FROM job WHERE id = ANY(%s)"


class Post:
    """Sends each message once: what our workers lose, nobody repeats."""

    def __init__(self, stack: FaultStack) -> None:
        #: Ids of jobs whose message the broker took.
        self.taken: list[str] = []
        #: Messages that it did not take, and so owes nobody.
        self.refused = 0
        self._stack = stack
        #: Held while a message is under way, and while the broker may forget some.
        self.lock = threading.Lock()

    def send(self) -> None:
        """One job, with an id of the sender's own."""
        job = f"job_vid_{secrets.token_hex(10)}"
        request: Json = plain(fresh_name(), PROVIDER, self._stack.receiver)
        message = {"request": request, "job_id": job}
        with (
            self.lock,
            sender(self._stack.broker) as app,
            app.connection_for_write() as connection,
        ):
            troubles: tuple[type[BaseException], ...] = (
                *connection.connection_errors,
                *connection.channel_errors,
                OperationalError,
                OSError,
            )
            try:
                app.send_task(
                    "video.enqueue", kwargs=message, queue="intake", connection=connection
                )
            except troubles:
                self.refused += 1
            else:
                self.taken.append(job)

    def is_delivered(self) -> bool:
        """Whether all that was taken has become jobs, so that no message can be lost any more."""
        (row,) = self._stack.rows(_COME, len(self.taken), self.taken)
        return bool(row["all_came"])

    def lost(self) -> Sequence[str]:
        """Jobs that were taken by the broker and never came into being."""
        known = self._stack.rows("SELECT id FROM job WHERE id = ANY(%s)", self.taken)
        return sorted({*self.taken} - {row["id"] for row in known})
