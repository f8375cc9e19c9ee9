"""Pictures have a table of their own, and jobs and batches keep their metadata as it was given.

Older jobs keep their pictures in their sealed scenes, from which every version reads them.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

_ID = sa.Text(collation="C")


def upgrade() -> None:
    op.create_table(
        "picture",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "picture_use",
        sa.Column("job", _ID, nullable=False),
        sa.Column("name", _ID, nullable=False),
        sa.Column("picture", _ID, nullable=False),
        sa.Column("fetched", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["picture"], ["picture.id"]),
        sa.PrimaryKeyConstraint("job", "name"),
    )
    op.create_index("picture_use_by_picture", "picture_use", ["picture"])
    for table in ("job", "batch"):
        op.add_column(table, sa.Column("metadata_text", sa.Text(), nullable=True))


def downgrade() -> None:
    # The older code knows no `prepare`: it fetches pictures when it submits. Unfinished jobs whose
    # requests contained pictures can't be sent by it.
    op.execute(
        "UPDATE due SET what = 'submit', lane = attempt.account, lease = NULL FROM attempt "
        "WHERE due.what = 'prepare' AND attempt.id = due.id"
    )
    for table in ("job", "batch"):
        op.drop_column(table, "metadata_text")
    op.drop_table("picture_use")
    op.drop_table("picture")
