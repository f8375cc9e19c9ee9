"""Gates: the table."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.gate import Strategy
from models.tables.columns import id_column, now_column, one_of


class Gate(SQLModel, table=True):
    """A tenant's named choice of models: requests name the gate, and it chooses among them."""

    __tablename__ = "gate"
    __table_args__ = (
        one_of("strategy", Strategy),
        UniqueConstraint("tenant", "name", name="gate_name_once_per_tenant"),
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    name: str
    strategy: str
    #: {"model", "fallback_models", "overrides"}; overrides are "all", "none" or a list of fields.
    routing: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    #: What its jobs may cost together, in millionths of a US dollar.
    spending_limit_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    #: Jobs that it has dealt out in turn; incremented in the transaction that inserts the job.
    turns: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    updated_at: datetime | None = Field(default=None, sa_column=now_column())
