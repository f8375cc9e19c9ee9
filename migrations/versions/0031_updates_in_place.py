"""Ends and progress of operations update rows in place, without new entries in indexes.

Adding the column rewrites the table of outputs, which is locked meanwhile: 12 s for 1,000,000 rows
on two cores.

Revision ID: 0031
Revises: 0030
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

_KEPT = "CASE WHEN state = 'failed' AND source IS NOT NULL THEN source_at END"
#: Percent of a page that insertions fill: before, and from now on.
_FILLED = {"output": (100, 40), "attempt": (80, 50)}


def upgrade() -> None:
    # First, since it may wait for a VACUUM of attempts: outputs are not locked meanwhile.
    _fill("attempt", 1)
    op.drop_index("output_with_kept_link", table_name="output")
    kept = sa.Column("link_kept_at", sa.DateTime(timezone=True), sa.Computed(_KEPT, persisted=True))
    op.add_column("output", kept)
    op.create_index(
        "output_with_kept_link",
        "output",
        ["link_kept_at"],
        postgresql_where=sa.text("link_kept_at IS NOT NULL"),
    )
    # After the rewriting: rows that are there need no room.
    _fill("output", 1)


def downgrade() -> None:
    _fill("attempt", 0)
    op.drop_index("output_with_kept_link", table_name="output")
    op.drop_column("output", "link_kept_at")
    op.create_index(
        "output_with_kept_link",
        "output",
        ["source_at"],
        postgresql_where=sa.text("state = 'failed' AND source IS NOT NULL"),
    )
    _fill("output", 0)


def _fill(table: str, when: int) -> None:
    op.execute(f"ALTER TABLE {table} SET (fillfactor = {_FILLED[table][when]})")
