"""When API keys were last used, and when they expire.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("api_key", sa.Column("last_used_at", _TIME, nullable=True))
    op.add_column("api_key", sa.Column("expires_at", _TIME, nullable=True))


def downgrade() -> None:
    # The older code knows no end of a key: what has expired stays refused.
    op.execute("UPDATE api_key SET revoked_at = now() WHERE expires_at <= now()")
    op.drop_column("api_key", "expires_at")
    op.drop_column("api_key", "last_used_at")
