"""Operators pause accounts and cap what they spend; an attempt tells what it waits for.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "account_rule",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_reason", sa.String(), nullable=True),
        sa.Column("cap_micros", sa.BigInteger(), nullable=True),
        sa.Column("cap_period", sa.Text(), nullable=True),
        sa.Column("cap_set_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_before_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("forgotten_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("cap_period IN ('day', 'month', 'total')", name="cap_period_known"),
        sa.CheckConstraint("(cap_micros IS NULL) = (cap_period IS NULL)", name="cap_has_period"),
        sa.CheckConstraint("cap_micros > 0", name="cap_allows_some"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column("attempt", sa.Column("estimate_micros", sa.BigInteger(), nullable=True))
    op.add_column("attempt", sa.Column("waits_for", sa.String(), nullable=True))
    op.add_column("attempt", sa.Column("waits_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "attempt_sent_by_account",
        "attempt",
        ["account", "sent_at"],
        postgresql_where=sa.text("sent_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("attempt_sent_by_account", table_name="attempt")
    op.drop_column("attempt", "waits_since")
    op.drop_column("attempt", "waits_for")
    op.drop_column("attempt", "estimate_micros")
    op.drop_table("account_rule")
