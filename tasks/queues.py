"""The queues in which messages wait."""

from enum import StrEnum


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
