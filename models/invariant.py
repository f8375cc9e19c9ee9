"""One invariant of the database: a sentence, and the SQL that finds what violates it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """A sentence that holds after every commit."""

    kind: str
    words: str
    #: Selects the `id` of every row that violates it.
    sql: str
