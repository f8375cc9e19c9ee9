"""Each verb's one declaration, from which its task, queue, class and crash points derive.

A verb's class is named, not imported: the API and the stack read these tables, and need neither
the storage nor the clients that the verbs work with.
"""

from dataclasses import dataclass

from models.state import What
from tasks.queues import Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A verb: its kind of due rows, its class, the queue of its hints and its crash points."""

    what: What
    #: Its class, as module and name.
    verb: str
    queue: Queue
    #: Steps after which a fault test can kill the worker, in their order; see `tasks.crash`.
    steps: tuple[str, ...]
    #: The docstring of its task: what it does, and why running it twice is harmless.
    doc: str

    @property
    def task(self) -> str:
        """The Celery task's stable name."""
        return f"video.{self.what}"

    @property
    def points(self) -> tuple[str, ...]:
        """Its crash points' full names."""
        return tuple(f"{self.what}.{step}" for step in self.steps)


#: Every verb, in order of a job's life.
DECLARED = (
    Declaration(
        what=What.SUBMIT,
        verb="tasks.verbs.submit:Submit",
        queue=Queue.SUBMIT,
        steps=("claimed", "sent_committed", "posted", "answer_committed"),
        doc="Send planned attempts. Twice is harmless: `sent` is committed before the POST.",
    ),
    Declaration(
        what=What.POLL,
        verb="tasks.verbs.poll:Poll",
        queue=Queue.POLL,
        steps=("claimed", "answered", "written"),
        doc="Poll running operations. Twice is harmless: rows are leased, and a poll is free.",
    ),
    Declaration(
        what=What.STORE,
        verb="tasks.verbs.store:Store",
        queue=Queue.STORE,
        steps=("claimed", "downloaded", "put", "written"),
        doc="Store finished videos. Twice is harmless: the object's key is the output's id.",
    ),
    Declaration(
        what=What.DELIVER,
        verb="tasks.verbs.deliver:Deliver",
        queue=Queue.DELIVER,
        steps=("claimed", "posted", "written"),
        doc="Deliver webhooks. Twice is harmless: receivers tell repeats by the event's id.",
    ),
    Declaration(
        what=What.CANCEL,
        verb="tasks.verbs.cancel:Cancel",
        queue=Queue.CONTROL,
        steps=("claimed", "posted", "written"),
        doc="Cancel unwanted operations. Twice is harmless: a cancelled one stays cancelled.",
    ),
    Declaration(
        what=What.LOOK_UP,
        verb="tasks.verbs.look_up:LookUpVerb",
        queue=Queue.CONTROL,
        steps=("claimed", "found", "written"),
        doc="Find operations whose POST had no answer. Twice is harmless: it only reads.",
    ),
    Declaration(
        what=What.EXPIRE,
        verb="tasks.verbs.expire:Expire",
        queue=Queue.CONTROL,
        steps=("claimed", "written"),
        doc="End jobs past their deadline. Twice is harmless: a final job does not move.",
    ),
    Declaration(
        what=What.ERASE,
        verb="tasks.verbs.erase:Erase",
        queue=Queue.CONTROL,
        steps=("claimed", "removed", "written"),
        doc="Erase deleted jobs. Twice is harmless: what is gone stays gone.",
    ),
)
