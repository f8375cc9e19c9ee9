"""Rejected broker messages: the table."""

from datetime import datetime

from sqlalchemy import Column, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from models.rows.columns import Id, id_column, now_column


class IntakeFailure(SQLModel, table=True):
    """A dead letter: a request that came over the broker and could not be accepted, with why."""

    __tablename__ = "intake_failure"
    __table_args__ = (
        UniqueConstraint("task_id", name="intake_failure_once_per_task"),
        Index("intake_failure_by_tenant", "tenant", "id"),
        Index("intake_failure_by_time", "at"),
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    #: Of the Celery message: a redelivered one is told once.
    task_id: str = Field(sa_column=Column(Id, nullable=False))
    #: As the message names it, known to us or not; null where it can't be told.
    tenant: str | None = Field(default=None, sa_column=Column(Id))
    code: str = Field(sa_column=Column(Text, nullable=False))
    #: In words, without any value of the request that may be private.
    message: str = Field(sa_column=Column(Text, nullable=False))
    #: The field that is wrong.
    param: str | None = Field(default=None, sa_column=Column(Text))
    #: Encrypted {"args", "kwargs"}, or {"raw"} in base64; null where it is too large to keep.
    payload: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    at: datetime | None = Field(default=None, sa_column=now_column())
