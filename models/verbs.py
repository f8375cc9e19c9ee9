"""The kinds of unfinished work, and one declaration of the verb that does each.

Everything else about a verb derives from its declaration: task, queue, class, crash points. Its
class is named, not imported: the API and the stack read these tables, and need neither the storage
nor the clients that the verbs work with.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class What(StrEnum):
    """The kinds of rows in the `due` table: the next step of each unfinished thing."""

    #: id: a planned attempt whose pictures must be fetched first. Lane: its tenant.
    PREPARE = "prepare"
    #: id: an attempt that is planned, or sent without a response. Lane: its account.
    SUBMIT = "submit"
    #: id: an accepted attempt. Lane: its account.
    POLL = "poll"
    #: id: an unknown attempt. Lane: its account.
    LOOK_UP = "look_up"
    #: id: an accepted attempt whose videos are not wanted any more. Lane: its account.
    CANCEL = "cancel"
    #: id: an output to download, or one whose stored object must be removed. Lane: its account.
    STORE = "store"
    #: id: a webhook delivery. Lane: the receiver's host.
    DELIVER = "deliver"
    #: id: a job, due at its deadline. Lane: "-".
    EXPIRE = "expire"
    #: id: a deleted job, of which some content is left. Lane: "-".
    ERASE = "erase"
    #: id: an unfinished batch. Lane: "-".
    TALLY = "tally"

    @property
    def table(self) -> Literal["attempt", "output", "delivery", "job", "batch"]:
        """The table of the rows that due rows of this kind name."""
        match self:
            case What.STORE:
                return "output"
            case What.DELIVER:
                return "delivery"
            case What.EXPIRE | What.ERASE:
                return "job"
            case What.TALLY:
                return "batch"
            case _:
                return "attempt"


#: A hint that work of a kind is due on a lane (None: on any lane). Losing one is harmless.
Hint = tuple[What, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A verb: its kind of due rows, its class, the queue of its hints and its crash points."""

    what: What
    #: Its class, in the module of `tasks.verbs` that is named like its kind.
    verb: str
    #: Where its hints wait: one of `tasks.queues`.
    queue: str
    #: Steps after which a fault test can kill the worker, in their order; see `tasks.crash`.
    steps: tuple[str, ...]
    #: The docstring of its task: what it does, and why running it twice is harmless.
    doc: str

    @property
    def module(self) -> str:
        return f"tasks.verbs.{self.what}"

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
        what=What.PREPARE,
        verb="Prepare",
        queue="prepare",
        steps=("claimed", "kept", "written"),
        doc="Fetch attempts' pictures. Twice is harmless: one that is kept is not fetched again.",
    ),
    Declaration(
        what=What.SUBMIT,
        verb="Submit",
        queue="submit",
        steps=("claimed", "sent_committed", "posted", "answer_committed"),
        doc="Send planned attempts. Twice is harmless: `sent` is committed before the POST.",
    ),
    Declaration(
        what=What.POLL,
        verb="Poll",
        queue="poll",
        steps=("claimed", "answered", "written"),
        doc="Poll running operations. Twice is harmless: rows are leased, and a poll is free.",
    ),
    Declaration(
        what=What.STORE,
        verb="Store",
        queue="store",
        steps=("claimed", "downloaded", "put", "written"),
        doc="Store finished videos. Twice is harmless: the object's key is the output's id.",
    ),
    Declaration(
        what=What.DELIVER,
        verb="Deliver",
        queue="deliver",
        steps=("claimed", "posted", "written"),
        doc="Deliver webhooks. Twice is harmless: receivers tell repeats by the event's id.",
    ),
    Declaration(
        what=What.CANCEL,
        verb="Cancel",
        queue="control",
        steps=("claimed", "posted", "written"),
        doc="Cancel unwanted operations. Twice is harmless: a cancelled one stays cancelled.",
    ),
    Declaration(
        what=What.LOOK_UP,
        verb="LookUpVerb",
        queue="control",
        steps=("claimed", "found", "written"),
        doc="Find operations whose POST had no answer. Twice is harmless: it only reads.",
    ),
    Declaration(
        what=What.EXPIRE,
        verb="Expire",
        queue="control",
        steps=("claimed", "written"),
        doc="End jobs past their deadline. Twice is harmless: a final job does not move.",
    ),
    Declaration(
        what=What.ERASE,
        verb="Erase",
        queue="control",
        steps=("claimed", "removed", "written"),
        doc="Erase deleted jobs. Twice is harmless: what is gone stays gone.",
    ),
    Declaration(
        what=What.TALLY,
        verb="Tally",
        queue="control",
        steps=("claimed", "moved", "committed"),
        doc="Count, release and end batches. Twice is harmless: their rows are locked.",
    ),
)
