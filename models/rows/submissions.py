"""Submissions without an Idempotency-Key, and what is known of their answers: words."""

from enum import StrEnum


class AnswerState(StrEnum):
    """What is known of the answer to a submission."""

    #: Its process is about to answer, or has died.
    OPEN = "open"
    #: It was written completely.
    ANSWERED = "answered"
    #: The client was gone, or read an error although the job was committed.
    LOST = "lost"
    #: There is no job: the client read an error after which some clients send again.
    REFUSED = "refused"
