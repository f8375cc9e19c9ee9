"""The high-water row: the table."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.rows.columns import Time, now_column


class HighWater(SQLModel, table=True):
    """How far this database has come, in one row: compared with the mark kept outside of it."""

    __tablename__ = "high_water"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: int = Field(
        default=1,
        sa_column=Column(
            SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")
        ),
    )
    #: Names this database and every copy and backup of it: where its marks are kept.
    installation: str = Field(sa_column=Column(Text, nullable=False))
    #: Increased with every mark, before the mark is stored.
    generation: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    #: Random for each generation: tells two databases apart that went on from one copy.
    nonce: str = Field(sa_column=Column(Text, nullable=False, server_default=""))
    #: The newest generation whose mark is known to be stored.
    stored: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    marked_at: datetime | None = Field(default=None, sa_column=now_column())
    #: When it was noticed that this database had been restored; None when all is well.
    restored_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: The mark that was ahead of this database then.
    ahead: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
