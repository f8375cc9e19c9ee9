"""Replacements: an attempt of its own takes over the videos that another one will not make."""

from collections.abc import Sequence
from dataclasses import dataclass

from models import due
from models.database import Connection, fetch_ids
from models.high_water import park_replacement
from models.ids import marker_after, new_id
from models.verbs import What

#: Locks an attempt's expected outputs in the order of their ids; returns them by position.
_LOCK_EXPECTED = """
WITH locked AS (
    SELECT id, position FROM output WHERE attempt = %s AND state = 'expected'
    ORDER BY id FOR UPDATE)
SELECT id FROM locked ORDER BY position
"""
#: SQL: how many attempts have replaced an `attempt`: it was thought to make nothing, and evidence
#: came.
REPLACEMENTS = "(SELECT count(*) FROM attempt AS later WHERE later.replaces = {of}.id)"

_INSERT = """
INSERT INTO attempt (id, job, provider, account, route, choice, state, marker, count, replaces)
VALUES (%s, %s, %s, %s, %s, %s, 'planned', %s, %s, %s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """An attempt to plan, and the one whose videos it takes over."""

    of: str
    job: str
    tenant: str
    provider: str
    account: str
    route: str
    choice: int
    marker: str
    #: Seconds until it is due.
    wait: float = 0.0


async def expected_of(connection: Connection, attempt: str) -> list[str]:
    """The ids of the outputs that the attempt was to make and that are still wanted, locked."""
    return await fetch_ids(connection, _LOCK_EXPECTED, (attempt,))


def marker_of(marker: str, number: int) -> str:
    """The marker of an attempt's `number`th replacement, from 0.

    It follows from the attempt's own, so an older copy of the database can look it up.
    """
    return marker_after(f"{marker}/{number}" if number else marker)


async def plan_replacement(connection: Connection, new: Replacement, outputs: Sequence[str]) -> str:
    """Insert the attempt, which takes over the outputs; returns its id."""
    id_ = new_id("att")
    await connection.execute(
        _INSERT,
        (
            *(id_, new.job, new.provider, new.account, new.route, new.choice),
            *(new.marker, len(outputs), new.of),
        ),
    )
    await park_replacement(connection, id_, of=new.of)
    await connection.execute(
        "UPDATE output SET attempt = %s WHERE id = ANY(%s)", (id_, list(outputs))
    )
    row = due.Row(id=id_, lane=new.account, tenant=new.tenant, after=new.wait)
    await due.put(connection, What.SUBMIT, [row])
    return id_
