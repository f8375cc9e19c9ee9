"""Links that outlive a failed download, videos brought in after their job's end, deleted videos.

Revision ID: 0005
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TIMES = ("source_at", "recovery_asked_at", "recovered_at", "deleted_at")


def upgrade() -> None:
    for name in _TIMES:
        op.add_column("output", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "output_with_kept_link",
        "output",
        ["source_at"],
        unique=False,
        postgresql_where=sa.text("state = 'failed' AND source IS NOT NULL"),
    )
    op.execute("UPDATE output SET source_at = now() WHERE source IS NOT NULL")
    op.execute("UPDATE output SET deleted_at = now() WHERE state = 'stored' AND key IS NULL")


def downgrade() -> None:
    # Without these columns a failed output has neither a link nor a row that is due.
    op.execute(
        "DELETE FROM due USING output "
        "WHERE due.what = 'store' AND due.id = output.id AND output.state = 'failed'"
    )
    op.execute("UPDATE output SET source = NULL WHERE state = 'failed'")
    op.drop_index("output_with_kept_link", table_name="output")
    for name in reversed(_TIMES):
        op.drop_column("output", name)
