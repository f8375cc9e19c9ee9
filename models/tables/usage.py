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
        # For all tenants' jobs of a period: rows are stored roughly in the order of the jobs' ends.
        Index(
            "job_usage_by_time",
            "created_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": True},
        ),
    )
    tenant: str = Field(sa_column=Column(Id, primary_key=True))
    #: When the job was submitted: usage counts it at this time.
    created_at: datetime = Field(sa_column=Column(Time, primary_key=True))
    #: The id of a deleted job may be reused by a later one.
    job: str = Field(sa_column=Column(Id, primary_key=True))
    api_key: str | None = Field(default=None, sa_column=Column(Id))
    app_id: str | None = Field(default=None, sa_column=Column(Text))
    #: The job's; for a gate's job, that of the plan that made its first video. NULL if an older
    #: plan does not name it, which must not keep a job from ending.
    model: str | None = Field(default=None, sa_column=Column(Text))
    provider: str | None = Field(default=None, sa_column=Column(Text))
    state: str = Field(sa_column=Column(Text, nullable=False))
    cost_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    #: Videos stored by its end, and their total length.
    videos: int
    video_seconds: float
    #: Seconds from its submission, or `run_at`, to its end; NULL unless it is complete.
    took_seconds: float | None = None
