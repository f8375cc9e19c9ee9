"""How far housekeeping has come, and the objects that it has yet to remove: words."""

from enum import StrEnum


class Reached(StrEnum):
    """What housekeeping goes through in an order of its own."""

    #: When beat's tick was last run, within seconds.
    TICK = "tick"
    #: Jobs that ended by then may have lost events.
    EVENTS = "events"
    #: Deliveries that ended by then may have lost tries.
    TRIES = "tries"
    #: Jobs that ended by then were charged.
    CHARGED = "charged"
    #: Jobs that had ended by then have usage rows.
    USAGE = "usage"
    #: Uses of pictures, and pictures, up to this one were looked at.
    PICTURE_USES = "picture_uses"
    PICTURES = "pictures"
