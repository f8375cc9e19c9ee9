"""Column types shared by the tables."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, Text, func

#: Ids compare byte by byte: cheaper than a locale, and in the order of their creation.
Id = Text(collation="C")
Time = DateTime(timezone=True)


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A constraint that the column holds one of the enum's values."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


def id_column(
    *, primary_key: bool = False, references: str | None = None, nullable: bool = False
) -> Column[str]:
    """An id, deleted together with the row that it references."""
    keys = [ForeignKey(references, ondelete="CASCADE")] if references else []
    return Column(Id, *keys, primary_key=primary_key, nullable=nullable)


def now_column() -> Column[datetime]:
    """A time that defaults to the transaction's."""
    return Column(Time, nullable=False, server_default=func.now())
