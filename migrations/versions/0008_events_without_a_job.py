"""A delivery may belong to no job: an event of a batch or of a tenant.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.alter_column("delivery", "job", existing_type=sa.Text(collation="C"), nullable=True)


def downgrade() -> None:
    # The older schema has no place for these, and its code would fail on them.
    op.execute(
        "DELETE FROM due USING delivery WHERE due.what = 'deliver' AND due.id = delivery.id "
        "AND delivery.job IS NULL"
    )
    op.execute("DELETE FROM delivery WHERE job IS NULL")
    op.alter_column("delivery", "job", existing_type=sa.Text(collation="C"), nullable=False)
