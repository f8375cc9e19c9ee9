"""Indexes for what retention, lists and learned durations look for, and how far housekeeping is.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_ID = sa.Text(collation="C")
_TIME = sa.DateTime(timezone=True)
#: Name, table, columns, and which rows.
_INDEXES = (
    ("job_by_end", "job", ["finished_at", "id"], "finished_at IS NOT NULL"),
    ("job_unfinished", "job", ["tenant", "id"], "finished_at IS NULL"),
    ("job_with_error", "job", ["tenant", "id"], "error IS NOT NULL"),
    ("attempt_by_route", "attempt", ["route", "finished_at"], "state = 'succeeded'"),
    ("output_by_storing", "output", ["stored_at"], "key IS NOT NULL"),
    ("delivery_of_nothing", "delivery", ["finished_at"], "job IS NULL AND batch IS NULL"),
    ("batch_by_end", "batch", ["finished_at"], "finished_at IS NOT NULL"),
    ("idempotency_by_job", "idempotency", ["job"], "job IS NOT NULL"),
    ("idempotency_by_batch", "idempotency", ["batch"], "batch IS NOT NULL"),
    ("idempotency_by_time", "idempotency", ["created_at"], None),
)
#: Retention has deleted events and tries before, and told nobody up to when.
_PRUNED = (
    """
    INSERT INTO upkeep (kind, reached_at)
    SELECT 'events', max(finished_at) FROM job
    WHERE finished_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM event WHERE event.job = job.id AND event.kind = 'pending')
    HAVING count(*) > 0
    """,
    """
    INSERT INTO upkeep (kind, reached_at)
    SELECT 'tries', max(finished_at) FROM delivery
    WHERE state <> 'pending' AND tries <> (
        SELECT count(*) FROM delivery_try AS try WHERE try.delivery = delivery.id)
    HAVING max(finished_at) IS NOT NULL
    """,
)


def upgrade() -> None:
    for name, table, columns, rows in _INDEXES:
        where = sa.text(rows) if rows else None
        op.create_index(name, table, columns, postgresql_where=where)
    op.create_table(
        "upkeep",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reached_at", _TIME, nullable=True),
        sa.Column("reached_id", _ID, nullable=True),
        sa.PrimaryKeyConstraint("kind"),
    )
    op.create_table(
        "removal",
        sa.Column("key", _ID, nullable=False),
        sa.Column("at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("removal_by_time", "removal", ["at"])
    for statement in _PRUNED:
        op.execute(statement)


def downgrade() -> None:
    # The older code does not know of objects that are to be removed: they would stay for ever.
    if op.get_bind().execute(sa.text("SELECT count(*) FROM removal")).scalar_one():
        msg = "objects are still to be removed: run `longtake prune` until it removes none"
        raise RuntimeError(msg)
    op.drop_table("removal")
    op.drop_table("upkeep")
    for name, table, _, _ in reversed(_INDEXES):
        op.drop_index(name, table_name=table)
