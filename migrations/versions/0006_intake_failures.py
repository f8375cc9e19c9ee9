"""Requests that came over the broker and could not be accepted: kept with their reason.

Revision ID: 0006
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "intake_failure",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("task_id", sa.Text(collation="C"), nullable=False),
        sa.Column("tenant", sa.Text(collation="C"), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("param", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("task_id", name="intake_failure_once_per_task"),
    )
    op.create_index("intake_failure_by_tenant", "intake_failure", ["tenant", "id"], unique=False)
    op.create_index("intake_failure_by_time", "intake_failure", ["at"], unique=False)


def downgrade() -> None:
    op.drop_index("intake_failure_by_time", table_name="intake_failure")
    op.drop_index("intake_failure_by_tenant", table_name="intake_failure")
    op.drop_table("intake_failure")
