"""Gates' spending limits are budgets; cancels count denials in a row; dead letters name their job.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_ID = sa.Text(collation="C")
#: The job id of a message that names none, as `tasks.letters.job_id_of`.
_DERIVED = """
UPDATE intake_failure SET job = 'job_vid_' || CASE
    WHEN task_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN replace(task_id, '-', '')
    ELSE left(encode(sha256(convert_to(task_id, 'UTF8')), 'hex'), 32) END
"""


def upgrade() -> None:
    op.add_column("ledger_entry", sa.Column("gate", _ID, nullable=True))
    _name_gates()
    _set_scopes("tenant", "key", "app", "gate")
    _open_budgets()
    op.drop_index("job_by_gate", table_name="job")
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
    op.create_index("job_by_gate", "job", ["gate"], postgresql_where=sa.text("gate IS NOT NULL"))
    op.execute("DELETE FROM budget WHERE scope = 'gate'")
    _set_scopes("tenant", "key", "app")
    op.drop_column("ledger_entry", "gate")


def _set_scopes(*scopes: str) -> None:
    allowed = ", ".join(f"'{scope}'" for scope in scopes)
    op.drop_constraint("scope_known", "budget", type_="check")
    op.create_check_constraint("scope_known", "budget", f"scope IN ({allowed})")


def _name_gates() -> None:
    """Name in the entries of jobs their gates: a new column, so no entry changes what it says."""
    op.execute("ALTER TABLE ledger_entry DISABLE TRIGGER ledger_is_kept")
    op.execute(
        """
        UPDATE ledger_entry SET gate = job.gate FROM job
        WHERE job.id = ledger_entry.job AND job.created_at = ledger_entry.counts_at
          AND job.gate IS NOT NULL
        """
    )
    op.execute("ALTER TABLE ledger_entry ENABLE TRIGGER ledger_is_kept")


def _open_budgets() -> None:
    """A budget for each limit, with what the gate's jobs hold and have spent."""
    op.execute(
        """
        INSERT INTO budget (id, tenant, scope, subject, period, limit_micros)
        SELECT 'bud_' || id, tenant, 'gate', id, 'total', spending_limit_micros
        FROM gate WHERE spending_limit_micros IS NOT NULL
        """
    )
    op.execute(
        """
        INSERT INTO budget_use (budget, starts_at, reserved_micros, spent_micros)
        SELECT budget.id, 'epoch',
               coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:reserved'), 0),
               coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:spent'), 0)
        FROM budget LEFT JOIN ledger_entry
             ON ledger_entry.tenant = budget.tenant AND ledger_entry.gate = budget.subject
        WHERE budget.scope = 'gate' GROUP BY budget.id
        """
    )
    op.execute(
        """
        UPDATE budget_use SET used_before_micros = reserved_micros + spent_micros
        FROM budget WHERE budget.id = budget_use.budget AND budget.scope = 'gate'
        """
    )
