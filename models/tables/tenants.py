"""Tenants and their API keys: the tables."""

from datetime import datetime

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field, SQLModel

from models.tables.columns import Time, id_column, now_column


class Tenant(SQLModel, table=True):
    """An owner of jobs and API keys."""

    __tablename__ = "tenant"
    id: str = Field(sa_column=id_column(primary_key=True))
    created_at: datetime | None = Field(default=None, sa_column=now_column())


class ApiKey(SQLModel, table=True):
    """A bearer key; only its hash is kept."""

    __tablename__ = "api_key"
    id: str = Field(sa_column=id_column(primary_key=True))
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    #: SHA-256 of the whole key: keys have 160 random bits, so no slow hash is needed.
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    #: The key's first characters, shown in lists.
    prefix: str
    is_admin: bool = False
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    revoked_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Written once a minute at most, after the requests; see `api.key_use`.
    last_used_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: NULL: it is valid until it is revoked.
    expires_at: datetime | None = Field(default=None, sa_column=Column(Time))
