"""Processes tell each other how far a provider slows a lane down.

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "lane_pace",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(collation="C"), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "noted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("noted_by", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("what", "lane"),
    )


def downgrade() -> None:
    op.drop_table("lane_pace")
