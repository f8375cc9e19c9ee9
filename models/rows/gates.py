"""Gates: the rows that are read and inserted."""

from dataclasses import dataclass
from datetime import datetime

from models.records import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGate:
    """A gate as it is inserted."""

    id: str
    tenant: str
    name: str
    strategy: str
    routing: Json
    spending_limit_micros: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow(NewGate):
    """A gate as it is read."""

    turns: int
    created_at: datetime
    updated_at: datetime
