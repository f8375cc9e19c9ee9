"""Rejected broker messages: the table."""

from datetime import datetime

from sqlalchemy import Column, Index, Integer, LargeBinary, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from models.tables.columns import Id, id_column, now_column


class IntakeFailure(SQLModel, table=True):
    """A dead letter: a request over the broker that was refused, and the reason."""

    __tablename__ = "intake_failure"
    __table_args__ = (
        UniqueConstraint(
            *("task_id", "task", "tenant", "job", "batch"),
            name="intake_failure_once_per_letter",
            postgresql_nulls_not_distinct=True,
        ),
        Index("intake_failure_by_tenant", "tenant", "id"),
        Index("intake_failure_by_time", "at"),
        Index("intake_failure_by_job", "job"),
        Index("intake_failure_by_batch", "batch", postgresql_where=text("batch IS NOT NULL")),
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    #: `video.enqueue` or `video.enqueue_batch`.
    task: str = Field(sa_column=Column(Text, nullable=False, server_default="video.enqueue"))
    #: The Celery message's id, so that a redelivered message is recorded once.
    task_id: str = Field(sa_column=Column(Id, nullable=False))
    #: As named in the message, whether it exists or not; NULL if unreadable.
    tenant: str | None = Field(default=None, sa_column=Column(Id))
    #: The job that it would have made; a later message with the same id may have made it.
    job: str | None = Field(default=None, sa_column=Column(Id))
    #: The batch that it would have made, if it names one.
    batch: str | None = Field(default=None, sa_column=Column(Id))
    code: str = Field(sa_column=Column(Text, nullable=False))
    #: The reason, without private values of the request.
    message: str = Field(sa_column=Column(Text, nullable=False))
    #: The invalid field.
    param: str | None = Field(default=None, sa_column=Column(Text))
    #: The first invalid line of a batch.
    line: int | None = Field(default=None, sa_column=Column(Integer))
    #: Encrypted {"args", "kwargs"}, or {"raw"} in base64; NULL if too large to keep.
    payload: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    at: datetime | None = Field(default=None, sa_column=now_column())
