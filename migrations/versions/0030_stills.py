"""Stills of stored videos: how many bytes of them are beside the video.

Revision ID: 0030
Revises: 0029
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("output", sa.Column("stills_bytes", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("output", "stills_bytes")
