"""Gates choose among models: a job may have several plans, and each attempt carries out one.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "gate",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("tenant", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("strategy", sa.String(), nullable=False),
        sa.Column("routing", postgresql.JSONB(), nullable=False),
        sa.Column("spending_limit_micros", sa.BigInteger(), nullable=True),
        sa.Column("turns", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "strategy IN ('single', 'fallback', 'round-robin')", name="strategy_known"
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant", "name", name="gate_name_once_per_tenant"),
    )
    op.add_column("job", sa.Column("gate", sa.Text(collation="C"), nullable=True))
    op.add_column("job", sa.Column("fallbacks", postgresql.JSONB(), nullable=True))
    op.create_index("job_by_gate", "job", ["gate"], postgresql_where=sa.text("gate IS NOT NULL"))
    op.add_column(
        "attempt", sa.Column("choice", sa.SmallInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    # The older code would send these by the job's own plan: they wait for an operator, or for their
    # job's deadline.
    op.execute(
        "UPDATE due SET at = now() + interval '10 years', lease = NULL FROM attempt "
        "WHERE due.what = 'submit' AND due.id = attempt.id AND attempt.state = 'planned' "
        "AND attempt.choice > 0"
    )
    op.execute("UPDATE attempt SET parked_at = now() WHERE state = 'planned' AND choice > 0")
    op.drop_column("attempt", "choice")
    op.drop_index("job_by_gate", table_name="job")
    op.drop_column("job", "fallbacks")
    op.drop_column("job", "gate")
    op.drop_table("gate")
