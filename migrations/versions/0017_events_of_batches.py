"""Webhook events of batches: each belongs to its batch, and is announced once.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("delivery", sa.Column("batch", sa.Text(collation="C"), nullable=True))
    op.create_foreign_key(
        "delivery_batch_fkey", "delivery", "batch", ["batch"], ["id"], ondelete="CASCADE"
    )
    op.create_unique_constraint("event_once_per_batch", "delivery", ["batch", "type"])


def downgrade() -> None:
    op.drop_column("delivery", "batch")
