"""When a route's operations end, since when an operation runs, and when it was told of.

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.add_column("duration", sa.Column("knots", ARRAY(sa.Float())))
    op.add_column("duration", sa.Column("fitted_at", sa.DateTime(timezone=True)))
    op.add_column("attempt", sa.Column("running_at", sa.DateTime(timezone=True)))
    op.add_column("attempt", sa.Column("called_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("attempt", "called_at")
    op.drop_column("attempt", "running_at")
    op.drop_column("duration", "fitted_at")
    op.drop_column("duration", "knots")
