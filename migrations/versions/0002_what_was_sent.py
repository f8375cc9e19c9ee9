"""What was sent: all that a look-up proves absence from is committed with the attempt itself.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_COLUMNS: tuple[sa.Column[object], ...] = (
    sa.Column("answer_by", sa.DateTime(timezone=True), nullable=True),
    sa.Column("absent_after", sa.DateTime(timezone=True), nullable=True),
    sa.Column("callback_base", sa.String(), nullable=True),
    sa.Column("sent_as", sa.LargeBinary(), nullable=True),
    sa.Column("sent_by", sa.UUID(), nullable=True),
    sa.Column("negative_looks", sa.SmallInteger(), server_default="0", nullable=False),
    sa.Column("negative_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("replaces", sa.Text(collation="C"), nullable=True),
    sa.Column("look_ups", sa.Integer(), server_default="0", nullable=False),
    sa.Column("cancel_faults", sa.Integer(), server_default="0", nullable=False),
)


def upgrade() -> None:
    for column in _COLUMNS:
        op.add_column("attempt", column)
    # Nobody knows the time-outs under which these were sent, so the longest that the settings allow
    # are taken. Whose credentials they were sent with stays unknown: nothing proves them absent.
    op.execute(
        """
        UPDATE attempt SET answer_by = sent_at + interval '25 minutes',
                           absent_after = sent_at + interval '30 minutes'
        WHERE state IN ('sent', 'unknown')
        """
    )
    # Look-ups were counted as polls.
    op.execute("UPDATE attempt SET look_ups = poll_faults, poll_faults = 0 WHERE state = 'unknown'")
    op.execute(
        """
        UPDATE attempt SET replaces = event.detail ->> 'after' FROM event
        WHERE event.job = attempt.job AND event.kind = 'attempt.repeated'
          AND event.detail ->> 'attempt' = attempt.id
        """
    )


def downgrade() -> None:
    op.execute("UPDATE attempt SET poll_faults = look_ups WHERE state = 'unknown'")
    for column in reversed(_COLUMNS):
        op.drop_column("attempt", column.name)
