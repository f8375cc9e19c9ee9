"""One invariant of the database, and the pieces in which its statement reads the tables.

A piece narrows tables by common table expressions of their own names, so an invariant reads as if
it were about the whole database, and no statement reads more than a few thousand of its things.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Over(StrEnum):
    """What an invariant is about, and is therefore read in pieces of."""

    JOBS = "jobs"
    DUE = "due rows"
    DELIVERIES = "deliveries"
    BATCHES = "batches"
    ENTRIES = "ledger entries"
    PICTURES = "pictures"
    #: A few rows that operators and tenants set; read as a whole.
    RULES = "rules"


@dataclass(frozen=True, slots=True)
class Invariant:
    """A sentence that holds after every commit."""

    kind: str
    words: str
    #: Selects the `id` of every row that violates it.
    sql: str
    over: Over = Over.JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """How the tables are read in pieces, in the order of an id: after `after`, up to `to`."""

    #: Selects the `last` id of the next piece, and the `number` of things in it.
    next: str
    #: The tables as the piece sees them.
    narrowed: str


#: Ids and due rows, lines of batches, and entries of one piece.
_IDS, _LINES, _ENTRIES = 1000, 10_000, 10_000


def _next(table: str, *, id_: str = "id", most: int = _IDS) -> str:
    return f"""
    SELECT max(id) AS last, count(*) AS number FROM (
        SELECT {id_} AS id FROM {table} WHERE {id_} > %(after)s ORDER BY {id_} LIMIT {most}) AS next
    """  # noqa: S608 - constants


def _narrowed(tables: Mapping[str, str]) -> str:
    """Each table by the column that is in the piece."""
    return ", ".join(
        f"""{table} AS NOT MATERIALIZED (
            SELECT * FROM {table} WHERE {column} > %(after)s AND {column} <= %(to)s)"""  # noqa: S608 - constants
        for table, column in tables.items()
    )


#: The entries of a piece's jobs by the names of their sets, of which there is an index, and those
#: of their attempts. `ledger_misnamed` holds the names.
_OF_JOBS = " UNION ALL ".join(
    f"""SELECT * FROM ledger_entry WHERE attempt IS NULL
        AND entry_set > '{name} ' || %(after)s AND entry_set <= '{name} ' || %(to)s"""  # noqa: S608 - constants
    for name in ("reserve", "charge", "absorb")
)
_ENTRIES_OF_JOBS = f"""ledger_entry AS NOT MATERIALIZED (
    {_OF_JOBS}
    UNION ALL
    SELECT entry.* FROM attempt JOIN ledger_entry AS entry ON entry.attempt = attempt.id)"""  # noqa: S608 - constants

PIECES: Final[Mapping[Over, Pieces]] = {
    Over.JOBS: Pieces(
        next=_next("job"),
        narrowed=_narrowed(
            {"job": "id"}
            | dict.fromkeys(
                ("attempt", "output", "event", "picture_use", "delivery", "idempotency"), "job"
            )
        )
        + f", {_ENTRIES_OF_JOBS}",
    ),
    # Their key has two columns: a kind and an id, written as one with a space between them.
    Over.DUE: Pieces(
        next=f"""
        SELECT max(what || ' ' || id) AS last, count(*) AS number FROM (
            SELECT what, id FROM due
            WHERE (what, id) > (split_part(%(after)s, ' ', 1),
                                substr(%(after)s, strpos(%(after)s, ' ') + 1))
            ORDER BY what, id LIMIT {_IDS}) AS next
        """,  # noqa: S608 - constants
        narrowed="""due AS NOT MATERIALIZED (
            SELECT * FROM due
            WHERE (what, id) > (split_part(%(after)s, ' ', 1),
                                substr(%(after)s, strpos(%(after)s, ' ') + 1))
              AND (what, id) <= (split_part(%(to)s, ' ', 1),
                                 substr(%(to)s, strpos(%(to)s, ' ') + 1)))""",
    ),
    Over.DELIVERIES: Pieces(
        next=_next("delivery"), narrowed=_narrowed({"delivery": "id", "delivery_try": "delivery"})
    ),
    # As many as have so many lines together, or one that has more.
    Over.BATCHES: Pieces(
        next=f"""
        SELECT max(id) AS last, count(*) AS number FROM (
            SELECT id, sum(lines) OVER (ORDER BY id) - lines AS before FROM (
                SELECT id, lines FROM batch WHERE id > %(after)s ORDER BY id LIMIT {_IDS}) AS next
            ) AS summed WHERE before < {_LINES}
        """,  # noqa: S608 - constants
        narrowed=_narrowed(
            {"batch": "id", "job": "batch_id"}
            | dict.fromkeys(("batch_change", "delivery", "idempotency"), "batch")
        ),
    ),
    Over.ENTRIES: Pieces(
        next=_next("ledger_entry", id_="entry_set", most=_ENTRIES),
        narrowed=_narrowed({"ledger_entry": "entry_set"}),
    ),
    Over.PICTURES: Pieces(
        next=_next("picture"), narrowed=_narrowed({"picture": "id", "picture_use": "picture"})
    ),
}
