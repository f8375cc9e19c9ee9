"""The high-water row: the table."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.tables.columns import Time, now_column


class HighWater(SQLModel, table=True):
    """The database's generation, in one row; a mark in storage that is ahead shows a restore."""

    __tablename__ = "high_water"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: int = Field(
        default=1,
        sa_column=Column(
            SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")
        ),
    )
    #: Identifies this database and all its copies and backups; part of the marks' keys.
    installation: str = Field(sa_column=Column(Text, nullable=False))
    #: Incremented for each mark, before the mark is stored.
    generation: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    #: Random per generation; distinguishes two databases that diverged from one copy.
    nonce: str = Field(sa_column=Column(Text, nullable=False, server_default=""))
    #: The newest generation whose mark is confirmed as stored.
    stored: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    marked_at: datetime | None = Field(default=None, sa_column=now_column())
    #: When a restore was detected; NULL if none is being handled.
    restored_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: The mark that was ahead of the database then.
    ahead: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
