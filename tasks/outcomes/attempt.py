"""What names an attempt wherever it goes."""

from typing import Protocol


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
