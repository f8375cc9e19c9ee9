"""Limits of submissions: the table."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Column, Date, Integer, Text
from sqlmodel import Field, SQLModel

from models.rows.limits import Holder
from models.tables.columns import Id, Time, one_of


class Limit(SQLModel, table=True):
    """What a tenant or a key may submit, and what it has submitted in the current windows.

    Submissions lock the row, so it is exact over all processes. Unfinished jobs are not counted
    here, because their rows are: a counter could drift.
    """

    __tablename__ = "rate_limit"
    __table_args__ = (
        one_of("holder", Holder),
        CheckConstraint("least(concurrent, per_minute, per_day) > 0", name="limits_allow_some"),
    )
    holder: Holder = Field(sa_column=Column(Text, primary_key=True))
    #: The tenant's name, or the key's id.
    id: str = Field(sa_column=Column(Id, primary_key=True))
    #: The tier whose limits were copied last.
    tier: str | None = None
    #: Unfinished jobs at a time, and jobs in a minute and in a day; NULL: no limit.
    concurrent: int | None = None
    per_minute: int | None = None
    per_day: int | None = None
    #: Start of the current minute, which begins with its first job, and its jobs.
    minute_at: datetime | None = Field(default=None, sa_column=Column(Time))
    minute_used: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    #: The current day in UTC, and its jobs.
    day: date | None = Field(default=None, sa_column=Column(Date))
    day_used: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
