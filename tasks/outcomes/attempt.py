"""What outcomes need to know of an attempt."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from models.database import Connection
from models.locks import lock_whole_of


class AttemptRef(Protocol):
    """An attempt with its job, tenant and account; items and rows of attempts are such."""

    @property
    def id(self) -> str: ...
    @property
    def job(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def account(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A provider's operation, under its attempt's id."""

    id: str
    tenant: str
    account: str
    provider: str
    #: When its provider first denied it, with no update since.
    denied_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedAttempt(Operation):
    """An attempt whose job, due rows and own row are locked."""

    job: str
    route: str
    state: str
    #: None while it has no operation.
    operation_id: str | None


async def lock_attempt(connection: Connection, attempt: str) -> LockedAttempt | None:
    """Lock an attempt, its job first, as does every writer that ends or replaces it."""
    await lock_whole_of(connection, [attempt])
    cursor = await connection.execute(
        """
        SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.provider,
               attempt.route, attempt.state, attempt.operation_id, attempt.denied_since
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.id = %s FOR NO KEY UPDATE OF attempt
        """,
        (attempt,),
    )
    row = await cursor.fetchone()
    return LockedAttempt(**row) if row else None
