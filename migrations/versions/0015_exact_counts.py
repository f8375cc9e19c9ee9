"""Cancels count denials in a row; dead letters name the job that they would have made.

Revision ID: 0015
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0012"

_ID = sa.Text(collation="C")
#: The job id of a message that names none, as `tasks.enqueue.job_id_of`.
_DERIVED = """
UPDATE intake_failure SET job = 'job_vid_' || CASE
    WHEN task_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN replace(task_id, '-', '')
    ELSE left(encode(sha256(convert_to(task_id, 'UTF8')), 'hex'), 32) END
"""


def upgrade() -> None:
    op.add_column(
        "attempt", sa.Column("cancel_denials", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("intake_failure", sa.Column("job", _ID, nullable=True))
    # An id that a message gives itself is sealed in its payload: such letters stay for their time.
    op.execute(_DERIVED)
    op.create_index("intake_failure_by_job", "intake_failure", ["job"])


def downgrade() -> None:
    op.drop_index("intake_failure_by_job", table_name="intake_failure")
    op.drop_column("intake_failure", "job")
    op.drop_column("attempt", "cancel_denials")
