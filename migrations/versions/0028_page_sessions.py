"""Sessions of browsers at the pages, and the indexes that their overview reads by.

Revision ID: 0028
Revises: 0027
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

_ID = sa.Text(collation="C")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "page_session",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("tenant", _ID, sa.ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
        sa.Column("api_key", _ID, sa.ForeignKey("api_key.id", ondelete="CASCADE"), nullable=True),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("is_read_only", sa.Boolean(), nullable=False),
        sa.Column("link_hash", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True, unique=True),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("link_expires_at", _TIME, nullable=False),
        sa.Column("opened_at", _TIME, nullable=True),
        sa.Column("expires_at", _TIME, nullable=True),
    )
    op.create_index("page_session_by_key", "page_session", ["api_key"])
    op.create_index(
        "job_by_tenant_end",
        "job",
        ["tenant", "finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "attempt_unknown", "attempt", ["id"], postgresql_where=sa.text("state = 'unknown'")
    )


def downgrade() -> None:
    op.drop_index("attempt_unknown", "attempt")
    op.drop_index("job_by_tenant_end", "job")
    op.drop_table("page_session")
