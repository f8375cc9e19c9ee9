"""What is known of the receivers of webhooks, and indexes by which tenants take turns.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_ID = sa.Text(collation="C")
_TIME = sa.DateTime(timezone=True)
_IN_TURNS = sa.text("what IN ('deliver', 'prepare')")


def upgrade() -> None:
    op.create_table(
        "receiver",
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("host", _ID, nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("trips", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("open_until", _TIME, nullable=True),
        sa.Column("is_prompt", sa.Boolean(), nullable=False),
        sa.Column("seen_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "host"),
    )
    op.create_index("receiver_by_time", "receiver", ["seen_at"])
    op.create_index("due_in_turns", "due", ["what", "tenant", "at"], postgresql_where=_IN_TURNS)
    op.create_index(
        "due_in_turns_by_lane", "due", ["what", "tenant", "lane", "at"], postgresql_where=_IN_TURNS
    )


def downgrade() -> None:
    op.drop_index("due_in_turns_by_lane", table_name="due")
    op.drop_index("due_in_turns", table_name="due")
    op.drop_table("receiver")
