"""Submissions without an Idempotency-Key, and what is known of their answers: the table."""

from datetime import datetime

from sqlalchemy import Column, Index, LargeBinary, SmallInteger
from sqlmodel import Field, SQLModel

from models.rows.submissions import AnswerState
from models.tables.columns import id_column, now_column, one_of


class Submission(SQLModel, table=True):
    """One submission, for a few minutes, so that it is known again if it is sent again."""

    __tablename__ = "submission"
    __table_args__ = (
        one_of("state", AnswerState),
        Index("submission_by_fingerprint", "fingerprint", "state", "at"),
        Index("submission_by_time", "at"),
        Index("submission_by_job", "job"),
    )
    #: Names one request: a repeat that is given the job replaces it by its own.
    id: str = Field(sa_column=id_column(primary_key=True))
    #: SHA-256 of who asked for what; see `tasks.resent.fingerprint`.
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    #: NULL if it was refused.
    job: str | None = Field(default=None, sa_column=id_column(references="job.id", nullable=True))
    state: str
    #: How many repeats were given the job.
    given: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: The first view, encrypted: repeats get the same. NULL if it was refused.
    response: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: When the request was accepted whose answer this is, or was last seen being answered.
    at: datetime | None = Field(default=None, sa_column=now_column())
