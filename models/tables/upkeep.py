"""How far housekeeping has come, and the objects that it has yet to remove: the tables."""

from datetime import datetime

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from models.rows.upkeep import Reached
from models.tables.columns import Id, Time, now_column


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
