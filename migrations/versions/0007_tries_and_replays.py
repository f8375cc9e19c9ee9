"""Each POST of a delivery is a try of its own, and a replay follows the try that is under way.

Revision ID: 0007
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "delivery",
        sa.Column("replay_wanted", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("delivery_try", sa.Column("token", sa.UUID(), nullable=True))
    op.create_unique_constraint("try_recorded_once", "delivery_try", ["token"])


def downgrade() -> None:
    op.drop_constraint("try_recorded_once", "delivery_try")
    op.drop_column("delivery_try", "token")
    op.drop_column("delivery", "replay_wanted")
