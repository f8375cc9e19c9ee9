"""Batches: many jobs that were submitted together, and how their counts change.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"

_ID = sa.Text(collation="C")
_TIME = sa.DateTime(timezone=True)


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in names]


def _money() -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        for name in ("reserved_micros", "charged_micros")
    ]


def upgrade() -> None:
    op.create_table(
        "batch",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("app_id", sa.String(), nullable=True),
        sa.Column("api_key", _ID, nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("retry_of", _ID, nullable=True),
        sa.Column("options", postgresql.JSONB(), nullable=False),
        sa.Column("webhook", sa.LargeBinary(), nullable=True),
        sa.Column("lines", sa.Integer(), nullable=False),
        *_counts("invalid"),
        sa.Column("errors", postgresql.JSONB(), nullable=True),
        *_counts("pending", "processing", "complete", "failed", "cancelled", "running"),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        *_counts("released_to"),
        sa.Column("estimated_cost_micros", sa.BigInteger(), nullable=False),
        *_money(),
        sa.Column("deadline_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("cancelled_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "state IN ('in_progress', 'completed', 'failed', 'cancelled')", name="state_known"
        ),
        sa.CheckConstraint(
            "(state = 'in_progress') = (finished_at IS NULL)", name="final_has_time"
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("batch_by_tenant", "batch", ["tenant", "id"])
    op.create_table(
        "batch_change",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("batch", _ID, nullable=False),
        *_counts("pending", "processing", "complete", "failed", "cancelled", "running"),
        *_money(),
        sa.ForeignKeyConstraint(["batch"], ["batch.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("batch_change_by_batch", "batch_change", ["batch", "id"])
    op.add_column("job", sa.Column("batch_id", _ID, nullable=True))
    op.add_column("job", sa.Column("batch_line", sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("custom_id", sa.String(), nullable=True))
    op.create_index(
        "job_by_batch",
        "job",
        ["batch_id", "batch_line"],
        unique=True,
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )
    op.alter_column("idempotency", "job", nullable=True)
    op.add_column("idempotency", sa.Column("batch", _ID, nullable=True))
    op.create_foreign_key(
        "idempotency_batch_fkey", "idempotency", "batch", ["batch"], ["id"], ondelete="CASCADE"
    )
    op.create_check_constraint("one_thing", "idempotency", "num_nonnulls(job, batch) = 1")


def downgrade() -> None:
    op.drop_constraint("one_thing", "idempotency")
    op.execute("DELETE FROM idempotency WHERE job IS NULL")
    op.drop_column("idempotency", "batch")
    op.alter_column("idempotency", "job", nullable=False)
    op.drop_index("job_by_batch", "job")
    for name in ("custom_id", "batch_line", "batch_id"):
        op.drop_column("job", name)
    op.drop_table("batch_change")
    op.drop_table("batch")
