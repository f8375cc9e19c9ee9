"""The ledger and the budgets: the tables."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from models.rows.money import Account, Period, Scope
from models.tables.columns import Id, Time, id_column, now_column, one_of


class LedgerEntry(SQLModel, table=True):
    """One side of a movement of money; never changed and never deleted, which a trigger holds.

    Jobs and keys are named, not referenced: entries outlive them.
    """

    __tablename__ = "ledger_entry"
    __table_args__ = (
        one_of("account", Account),
        CheckConstraint("amount_micros <> 0", name="amount_moves_something"),
        UniqueConstraint("entry_set", "account", "counts_at", name="entry_once_per_set"),
        Index("ledger_by_tenant", "tenant", "id"),
        Index("ledger_by_attempt", "attempt", postgresql_where=text("attempt IS NOT NULL")),
    )
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True))
    #: What happened to what, as in `reserve job_vid_…`: a repeat of it is refused, unless a deleted
    #: job's id was given to another one.
    entry_set: str = Field(sa_column=Column(Id, nullable=False))
    account: Account = Field(sa_column=Column(Text, nullable=False))
    amount_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    #: Referenced, so that every entry locks its tenant's key: see `models.budgets`.
    tenant: str = Field(sa_column=Column(Id, ForeignKey("tenant.id"), nullable=False))
    api_key: str | None = Field(default=None, sa_column=Column(Id))
    app_id: str | None = None
    #: The gate's id, of a job that named one.
    gate: str | None = Field(default=None, sa_column=Column(Id))
    job: str | None = Field(default=None, sa_column=Column(Id))
    #: The attempt that cost it, of an entry for an attempt alone.
    attempt: str | None = Field(default=None, sa_column=Column(Id))
    #: When its money was reserved: the time in which budgets count it.
    counts_at: datetime | None = Field(default=None, sa_column=now_column())
    at: datetime | None = Field(default=None, sa_column=now_column())


class Budget(SQLModel, table=True):
    """A limit of what a tenant's jobs, or those of one of its keys, apps or gates, may cost."""

    __tablename__ = "budget"
    __table_args__ = (
        one_of("scope", Scope),
        one_of("period", Period),
        CheckConstraint("limit_micros >= 0", name="limit_not_negative"),
        UniqueConstraint("tenant", "scope", "subject", "period", name="budget_once"),
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    scope: Scope = Field(sa_column=Column(Text, nullable=False))
    #: The tenant, or the id of the key, app or gate.
    subject: str = Field(sa_column=Column(Id, nullable=False))
    period: Period = Field(sa_column=Column(Text, nullable=False))
    limit_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime | None = Field(default=None, sa_column=now_column())


class BudgetUse(SQLModel, table=True):
    """What a budget holds in one of its periods; its row's lock makes the limit exact."""

    __tablename__ = "budget_use"
    budget: str = Field(
        sa_column=Column(Id, ForeignKey("budget.id", ondelete="CASCADE"), primary_key=True)
    )
    #: The period's start; the epoch for a budget of all time.
    starts_at: datetime = Field(sa_column=Column(Time, primary_key=True))
    reserved_micros: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )
    spent_micros: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )
    #: What was used when the limit was set, which may be more than the limit.
    used_before_micros: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )
