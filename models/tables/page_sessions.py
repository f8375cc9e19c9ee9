"""Sessions of browsers at the pages: the table."""

from datetime import datetime

from sqlalchemy import Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from models.tables.columns import Time, id_column, now_column


class PageSession(SQLModel, table=True):
    """A link that opens one session, and the session; of both only hashes are kept.

    It goes with its tenant, and with its key if it has one. A session that its browser ends is
    deleted.
    """

    __tablename__ = "page_session"
    __table_args__ = (Index("page_session_by_key", "api_key"),)
    id: str = Field(sa_column=id_column(primary_key=True))
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    #: The key that it acts for, whose end is its own.
    api_key: str | None = Field(
        default=None, sa_column=id_column(references="api_key.id", nullable=True)
    )
    is_admin: bool
    is_read_only: bool
    #: SHA-256 of what the link ends with, and of the cookie: both have 256 random bits.
    link_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary, unique=True))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    link_expires_at: datetime = Field(sa_column=Column(Time, nullable=False))
    #: When the link was used; only once.
    opened_at: datetime | None = Field(default=None, sa_column=Column(Time))
    expires_at: datetime | None = Field(default=None, sa_column=Column(Time))
