"""How far housekeeping has come, and the objects that it has yet to remove: the tables."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from models.rows.columns import Id, Time, now_column


class Reached(StrEnum):
    """What housekeeping goes through in an order of its own."""

    #: Jobs that ended by then may have lost events.
    EVENTS = "events"
    #: Deliveries that ended by then may have lost tries.
    TRIES = "tries"
    #: Jobs that ended by then were charged.
    CHARGED = "charged"
    #: Uses of pictures, and pictures, up to this one were looked at.
    PICTURE_USES = "picture_uses"
    PICTURES = "pictures"


class Upkeep(SQLModel, table=True):
    """How far one part of housekeeping has come: up to a time, an id, or both."""

    __tablename__ = "upkeep"
    kind: Reached = Field(sa_column=Column(Text, primary_key=True))
    reached_at: datetime | None = Field(default=None, sa_column=Column(Time))
    reached_id: str | None = Field(default=None, sa_column=Column(Id))


class Removal(SQLModel, table=True):
    """An object in the storage that no output names any more.

    Its row is inserted with the commit that takes the object's name away, and deleted when the
    object is gone: so none is left behind, whenever a process dies.
    """

    __tablename__ = "removal"
    __table_args__ = (Index("removal_by_time", "at"),)
    key: str = Field(sa_column=Column(Id, primary_key=True))
    #: When to remove it, or to try again.
    at: datetime | None = Field(default=None, sa_column=now_column())
