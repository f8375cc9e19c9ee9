"""What ended jobs were and cost, in rows of their own, which outlive the jobs.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

_ID = sa.Text(collation="C")
_TIME = sa.DateTime(timezone=True)
#: The row of each job that has ended; it locks nothing that workers wait for.
_FILL = """
INSERT INTO job_usage (tenant, created_at, job, api_key, app_id, model, provider, state,
                       cost_micros, videos, video_seconds, took_seconds)
SELECT job.tenant, job.created_at, job.id, job.api_key, job.app_id,
       CASE WHEN job.gate IS NULL THEN job.model
            ELSE coalesce(job.fallbacks -> made.choice::text, job.plan) ->> 'model' END,
       coalesce(job.fallbacks -> made.choice::text, job.plan) ->> 'provider', job.state,
       coalesce(job.cost_micros, 0), made.videos, made.video_seconds,
       CASE WHEN job.state = 'complete' THEN extract(
           epoch FROM job.finished_at - greatest(job.created_at, job.run_at))::float8 END
FROM job CROSS JOIN LATERAL (
    SELECT count(*) AS videos,
           coalesce(sum(output.duration_seconds ORDER BY output.position), 0)::float8
               AS video_seconds,
           (array_agg(attempt.choice ORDER BY output.position))[1] AS choice
    FROM output JOIN attempt ON attempt.id = output.attempt
    WHERE output.job = job.id AND output.state = 'stored' AND output.recovered_at IS NULL) AS made
WHERE job.state IN ('complete', 'failed', 'cancelled') ORDER BY job.finished_at
"""
#: Workers of the version before end jobs without a row until they are stopped, also while this
#: runs: `prune` looks for what they ended from here on.
_REACHED = """
INSERT INTO upkeep (kind, reached_at, reached_id) VALUES ('usage', now() - interval '1 minute', '')
"""


def upgrade() -> None:
    op.create_table(
        "job_usage",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("job", _ID, nullable=False),
        sa.Column("api_key", _ID, nullable=True),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("videos", sa.Integer(), nullable=False),
        sa.Column("video_seconds", sa.Float(), nullable=False),
        sa.Column("took_seconds", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "created_at", "job"),
        sa.CheckConstraint("state IN ('complete', 'failed', 'cancelled')", name="state_final"),
    )
    op.execute(_FILL)
    op.create_index(
        "job_usage_by_time",
        "job_usage",
        ["created_at"],
        postgresql_using="brin",
        postgresql_with={"autosummarize": True},
    )
    op.execute(_REACHED)


def downgrade() -> None:
    op.execute("DELETE FROM upkeep WHERE kind = 'usage'")
    op.drop_table("job_usage")
