"""Limits of keys and tenants; jobs that were deleted, or that retry another.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_BEFORE = ("submit", "poll", "look_up", "cancel", "store", "deliver", "expire")


def upgrade() -> None:
    op.create_table(
        "rate_limit",
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("tier", sa.String(), nullable=True),
        sa.Column("concurrent", sa.Integer(), nullable=True),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column("per_day", sa.Integer(), nullable=True),
        sa.Column("minute_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("minute_used", sa.Integer(), server_default="0", nullable=False),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("day_used", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("holder IN ('tenant', 'key')", name="holder_known"),
        sa.CheckConstraint("least(concurrent, per_minute, per_day) > 0", name="limits_allow_some"),
        sa.PrimaryKeyConstraint("holder", "id"),
    )
    op.add_column("job", sa.Column("retry_of", sa.Text(collation="C"), nullable=True))
    op.add_column("job", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    _set_kinds(*_BEFORE, "erase")


def downgrade() -> None:
    # The older code shows deleted jobs to their owners: what is not erased yet must not come back.
    op.execute("DELETE FROM due WHERE what = 'erase'")
    op.execute("DELETE FROM job WHERE deleted_at IS NOT NULL")
    _set_kinds(*_BEFORE)
    for column in ("erased_at", "deleted_at", "retry_of"):
        op.drop_column("job", column)
    op.drop_table("rate_limit")


def _set_kinds(*kinds: str) -> None:
    allowed = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint("what_known", "due", type_="check")
    op.create_check_constraint("what_known", "due", f"what IN ({allowed})")
