"""What ended jobs were and cost: the table."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Text
from sqlmodel import Field, SQLModel

from models.tables.columns import Id, Time


class JobUsage(SQLModel, table=True):
    """What one ended job was and cost: entered with its end, and kept when the job is deleted.

    Job, tenant and key are named, not referenced, as in the ledger.
    """

    __tablename__ = "job_usage"
    __table_args__ = (
        CheckConstraint("state IN ('complete', 'failed', 'cancelled')", name="state_final"),
        # For all tenants' jobs of a time: rows lie about in the order of their jobs' ends.
        Index(
            "job_usage_by_time",
            "created_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": True},
        ),
    )
    tenant: str = Field(sa_column=Column(Id, primary_key=True))
    #: When the job was submitted: the time in which usage counts it.
    created_at: datetime = Field(sa_column=Column(Time, primary_key=True))
    #: A deleted job's id may be given to another job, which was submitted later.
    job: str = Field(sa_column=Column(Id, primary_key=True))
    api_key: str | None = Field(default=None, sa_column=Column(Id))
    app_id: str | None = Field(default=None, sa_column=Column(Text))
    #: Of the job; of a gate's job that of the plan that made its first video. NULL if an older plan
    #: does not name it: no job is kept from its end.
    model: str | None = Field(default=None, sa_column=Column(Text))
    provider: str | None = Field(default=None, sa_column=Column(Text))
    state: str = Field(sa_column=Column(Text, nullable=False))
    cost_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    #: Videos that were stored by its end, and their length together.
    videos: int
    video_seconds: float
    #: From its submission, or `run_at`, to its end; NULL unless it is complete.
    took_seconds: float | None = None
