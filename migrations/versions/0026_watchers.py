"""Processes watch operations: who they are, how steadily the tick looks, and what they are told.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"

TIME = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    op.create_table(
        "holder",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("beat", TIME, server_default=NOW, nullable=False),
        sa.Column("lives_for", sa.Float(), nullable=False),
        sa.Column("watched", sa.Integer(), server_default="0", nullable=False),
        sa.Column("room", sa.Integer(), server_default="0", nullable=False),
        sa.Column("late", sa.Float(), server_default="0", nullable=False),
        sa.Column("answered", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("dead_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "pulse",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("steady_since", TIME, nullable=False),
        sa.CheckConstraint("one", name="one_pulse"),
        sa.PrimaryKeyConstraint("one"),
    )
    op.create_table(
        "nudge",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("holder", sa.UUID(), nullable=False),
        sa.Column("thing", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("nudge_by_holder", "nudge", ["holder"])


def downgrade() -> None:
    # Versions before this one know no holders: what is watched is due.
    op.execute(
        "UPDATE due SET lease = NULL, at = now() "
        "WHERE what = 'poll' AND lease IN (SELECT id FROM holder)"
    )
    for table in ("nudge", "pulse", "holder"):
        op.drop_table(table)
