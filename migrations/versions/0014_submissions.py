"""Submissions without an Idempotency-Key are kept for minutes, to know those that are sent again.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "submission",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("job", sa.Text(collation="C"), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("given", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("state IN ('open', 'answered', 'lost', 'refused')", name="state_known"),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("submission_by_fingerprint", "submission", ["fingerprint", "state", "at"])
    op.create_index("submission_by_time", "submission", ["at"])
    op.create_index("submission_by_job", "submission", ["job"])


def downgrade() -> None:
    op.drop_table("submission")
