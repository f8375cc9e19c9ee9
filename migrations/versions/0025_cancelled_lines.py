"""How far a batch's cancel has come, so that no step of it reads the lines before.

Revision ID: 0025
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    column = sa.Column("cancelled_to", sa.Integer(), nullable=False, server_default=sa.text("0"))
    op.add_column("batch", column)


def downgrade() -> None:
    op.drop_column("batch", "cancelled_to")
