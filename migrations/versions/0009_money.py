"""A ledger of what is reserved and spent, and budgets; jobs get opening entries.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_ID = sa.Text(collation="C")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("job", sa.Column("api_key", _ID, nullable=True))
    op.add_column(
        "job", sa.Column("reserved_micros", sa.BigInteger(), server_default="0", nullable=False)
    )
    _create_ledger()
    _create_budgets()
    _open()


def downgrade() -> None:
    op.drop_table("budget_use")
    op.drop_table("budget")
    op.drop_table("ledger_entry")
    op.execute("DROP FUNCTION ledger_is_kept()")
    op.drop_column("job", "reserved_micros")
    op.drop_column("job", "api_key")


def _create_ledger() -> None:
    op.create_table(
        "ledger_entry",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("entry_set", _ID, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("api_key", _ID, nullable=True),
        sa.Column("app_id", sa.String(), nullable=True),
        sa.Column("job", _ID, nullable=True),
        sa.Column("attempt", _ID, nullable=True),
        sa.Column("counts_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "account IN ('tenant:available', 'tenant:reserved', 'tenant:spent', "
            "'operator:deposits', 'operator:absorbed', 'operator:provider')",
            name="account_known",
        ),
        sa.CheckConstraint("amount_micros <> 0", name="amount_moves_something"),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("entry_set", "account", "counts_at", name="entry_once_per_set"),
    )
    op.create_index("ledger_by_tenant", "ledger_entry", ["tenant", "id"], unique=False)
    op.create_index(
        "ledger_by_attempt",
        "ledger_entry",
        ["attempt"],
        unique=False,
        postgresql_where=sa.text("attempt IS NOT NULL"),
    )
    op.execute(
        """
        CREATE FUNCTION ledger_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'ledger entries are never changed and never deleted';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER ledger_is_kept BEFORE UPDATE OR DELETE ON ledger_entry
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_kept()
        """
    )


def _create_budgets() -> None:
    op.create_table(
        "budget",
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant", _ID, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", _ID, nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("limit_micros", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("scope IN ('tenant', 'key', 'app')", name="scope_known"),
        sa.CheckConstraint("period IN ('day', 'month', 'total', 'prepaid')", name="period_known"),
        sa.CheckConstraint("limit_micros >= 0", name="limit_not_negative"),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant", "scope", "subject", "period", name="budget_once"),
    )
    op.create_table(
        "budget_use",
        sa.Column("budget", _ID, nullable=False),
        sa.Column("starts_at", _TIME, nullable=False),
        sa.Column("reserved_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("used_before_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["budget"], ["budget.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("budget", "starts_at"),
    )


#: An attempt's share of its job's estimate.
_SHARE = """round(
    job.estimated_cost_micros * attempt.count
    / greatest(1, (SELECT count(*) FROM output WHERE output.job = job.id))::numeric)::bigint"""


def _open() -> None:
    """Reserve for every job, charge those that have ended, and absorb what their attempts cost."""
    op.execute("UPDATE job SET reserved_micros = estimated_cost_micros")
    op.execute(
        """
        INSERT INTO ledger_entry
            (entry_set, account, amount_micros, tenant, app_id, job, counts_at, at)
        SELECT 'reserve ' || job.id, side.account, side.amount, job.tenant, job.app_id, job.id,
               job.created_at, job.created_at
        FROM job, LATERAL (VALUES
            ('tenant:available', -job.reserved_micros),
            ('tenant:reserved', job.reserved_micros)) AS side (account, amount)
        WHERE side.amount <> 0 ORDER BY job.id
        """
    )
    op.execute(
        """
        INSERT INTO ledger_entry
            (entry_set, account, amount_micros, tenant, app_id, job, counts_at, at)
        SELECT 'charge ' || job.id, side.account, side.amount, job.tenant, job.app_id, job.id,
               job.created_at, job.finished_at
        FROM job, LATERAL (VALUES
            ('tenant:reserved', -job.reserved_micros),
            ('tenant:spent', job.cost_micros),
            ('tenant:available', job.reserved_micros - job.cost_micros)) AS side (account, amount)
        WHERE side.amount <> 0 AND job.finished_at IS NOT NULL AND job.cost_micros IS NOT NULL
        ORDER BY job.id
        """
    )
    op.execute(
        f"""
        INSERT INTO ledger_entry
            (entry_set, account, amount_micros, tenant, app_id, job, counts_at, at)
        SELECT 'absorb ' || made.id, side.account, side.amount, made.tenant, made.app_id, made.id,
               made.created_at, made.finished_at
        FROM (SELECT job.*, sum(coalesce(attempt.cost_micros, {_SHARE}))::bigint - job.cost_micros
                         AS over
              FROM job JOIN attempt ON attempt.job = job.id AND attempt.state = 'succeeded'
              WHERE job.finished_at IS NOT NULL AND job.cost_micros IS NOT NULL
              GROUP BY job.id) AS made,
             LATERAL (VALUES ('operator:absorbed', over), ('operator:provider', -over))
                 AS side (account, amount)
        WHERE over > 0 ORDER BY made.id
        """  # noqa: S608 - a constant
    )
    op.execute(
        f"""
        INSERT INTO ledger_entry
            (entry_set, account, amount_micros, tenant, app_id, job, attempt, counts_at, at)
        SELECT 'absorb ' || made.id || ' 0', side.account, side.amount, made.tenant, made.app_id,
               made.job, made.id, made.created_at, made.finished_at
        FROM (SELECT attempt.id, attempt.job, job.tenant, job.app_id, job.created_at,
                     job.finished_at, coalesce(attempt.cost_micros,
                         CASE attempt.state WHEN 'unknown' THEN {_SHARE} ELSE 0 END) AS cost
              FROM attempt JOIN job ON job.id = attempt.job
              WHERE job.finished_at IS NOT NULL
                AND attempt.state IN ('unknown', 'failed', 'cancelled')) AS made,
             LATERAL (VALUES ('operator:absorbed', cost), ('operator:provider', -cost))
                 AS side (account, amount)
        WHERE cost <> 0 ORDER BY made.id
        """  # noqa: S608 - a constant
    )
