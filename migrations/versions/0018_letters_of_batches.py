"""Dead letters say which task they are of, and of a batch its id and first invalid line.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_ID = sa.Text(collation="C")


def upgrade() -> None:
    op.add_column(
        "intake_failure",
        sa.Column("task", sa.Text(), server_default="video.enqueue", nullable=False),
    )
    op.add_column("intake_failure", sa.Column("batch", _ID, nullable=True))
    op.add_column("intake_failure", sa.Column("line", sa.Integer(), nullable=True))
    # A sender may give two messages one task id.
    op.drop_constraint("intake_failure_once_per_task", "intake_failure")
    op.create_unique_constraint(
        "intake_failure_once_per_letter",
        "intake_failure",
        ["task_id", "task", "tenant", "job", "batch"],
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "intake_failure_by_batch",
        "intake_failure",
        ["batch"],
        postgresql_where=sa.text("batch IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("intake_failure_by_batch", table_name="intake_failure")
    op.drop_constraint("intake_failure_once_per_letter", "intake_failure")
    op.execute(
        "DELETE FROM intake_failure AS later USING intake_failure AS first "
        "WHERE later.task_id = first.task_id AND later.id > first.id"
    )
    op.create_unique_constraint("intake_failure_once_per_task", "intake_failure", ["task_id"])
    for column in ("line", "batch", "task"):
        op.drop_column("intake_failure", column)
