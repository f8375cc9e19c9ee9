"""Accounts that their providers refuse are left alone and probed.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for column in (
        sa.Column("block_code", sa.Text(), nullable=True),
        sa.Column("block_reason", sa.String(), nullable=True),
        sa.Column("blocked_at", _TIME, nullable=True),
        sa.Column("probe_at", _TIME, nullable=True),
        sa.Column("probe_by", sa.UUID(), nullable=True),
        sa.Column("probes", sa.SmallInteger(), server_default="0", nullable=False),
    ):
        op.add_column("account_rule", column)
    op.create_check_constraint(
        "block_code_known",
        "account_rule",
        "block_code IN ('provider_auth', 'provider_quota', 'provider_rate_limited')",
    )
    op.create_check_constraint(
        "block_has_time",
        "account_rule",
        "(blocked_at IS NULL) = (block_code IS NULL) AND (blocked_at IS NULL) = (probe_at IS NULL)",
    )
    op.add_column("attempt", sa.Column("refused_at", _TIME, nullable=True))
    op.add_column(
        "attempt", sa.Column("refusals", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.add_column("attempt", sa.Column("due_since", _TIME, nullable=True))


def downgrade() -> None:
    for column in ("due_since", "refusals", "refused_at"):
        op.drop_column("attempt", column)
    op.execute("DELETE FROM account_rule WHERE paused_at IS NULL AND cap_micros IS NULL")
    op.drop_constraint("block_has_time", "account_rule")
    op.drop_constraint("block_code_known", "account_rule")
    for column in ("probes", "probe_by", "probe_at", "blocked_at", "block_reason", "block_code"):
        op.drop_column("account_rule", column)
