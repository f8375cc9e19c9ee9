"""Suspects are claimed alone, faults of our own are counted, and denials have a time.

Revision ID: 0004
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("due", sa.Column("faults", sa.SmallInteger(), server_default="0", nullable=False))
    op.create_index(
        "due_suspects", "due", ["what", "lane", "at"], postgresql_where=sa.text("tries >= 3")
    )
    op.create_index("due_parked", "due", ["what", "id"], postgresql_where=sa.text("faults >= 5"))
    op.add_column("attempt", sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("attempt", sa.Column("denied_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "denied_since")
    op.drop_column("attempt", "seen_at")
    op.drop_index("due_parked", table_name="due")
    op.drop_index("due_suspects", table_name="due")
    op.drop_column("due", "faults")
