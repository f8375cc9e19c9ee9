"""Learned durations: the table."""

from datetime import datetime

from sqlalchemy import Column, Float
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from models.tables.columns import Time, id_column, now_column


class Duration(SQLModel, table=True):
    """The duration of a route's operations, learned from succeeded attempts."""

    __tablename__ = "duration"
    route: str = Field(sa_column=id_column(primary_key=True))
    #: Seconds from acceptance to the end, at the 10th, 50th and 90th percentile.
    p10: float
    p50: float
    p90: float
    samples: int
    learned_at: datetime | None = Field(default=None, sa_column=now_column())
    #: Seconds by which the shares in `scheduler.hazard` have ended, and when they were found.
    knots: list[float] | None = Field(default=None, sa_column=Column(ARRAY(Float)))
    fitted_at: datetime | None = Field(default=None, sa_column=Column(Time))
