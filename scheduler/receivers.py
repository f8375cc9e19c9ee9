"""How receivers of webhooks answered lately: a circuit breaker for each tenant's host, as rows.

Every process sees the rows. A receiver that fails several times in a row is closed for a while: its
deliveries are put off without a try, until one of them probes it. How many requests it may hold
follows from its answers too, since one that is not known to answer may hang.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from models.database import Connection, Database, fetch_rows

#: Failed tries in a row after which the breaker opens.
OPENS_AFTER = 5
#: Seconds for which it is open the first time, and at most; it doubles with each failed probe.
FIRST_OPEN, LONGEST_OPEN = 10.0, 600.0
#: Seconds after which another delivery may probe, if nothing was heard of a probe.
PROBE_LASTS = 45.0
#: Longest time of a prompt answer, in seconds.
PROMPT = 5.0
#: Seconds after which an unchanged row is written again, so that it is not taken for forgotten.
SEEN_EVERY = 3600


class Standing(StrEnum):
    """What is known of a receiver when one of its rows is claimed."""

    #: Nothing, or its last try failed: it may hang.
    UNKNOWN = "unknown"
    #: It answers, and slowly.
    SLOW = "slow"
    #: It answers quickly.
    PROMPT = "prompt"
    #: Its breaker is open: nothing is sent.
    OPEN = "open"


#: The standing, by the receiver's row or its absence.
STANDING = f"""
CASE WHEN receiver.open_until > now() THEN '{Standing.OPEN}'
     WHEN receiver.host IS NULL OR receiver.failures > 0 THEN '{Standing.UNKNOWN}'
     WHEN receiver.is_prompt THEN '{Standing.PROMPT}' ELSE '{Standing.SLOW}' END
"""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """A tenant's host."""

    tenant: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the tries of one write-back showed of a receiver."""

    #: How many failed; an answer among the others outweighs them.
    failures: int
    has_answered: bool
    is_prompt: bool
    #: Whether one that failed was the probe of an open breaker.
    was_probe: bool = False

    def __add__(self, later: "Heard") -> "Heard":
        return Heard(
            failures=self.failures + later.failures,
            has_answered=self.has_answered or later.has_answered,
            is_prompt=later.is_prompt if later.has_answered else self.is_prompt,
            was_probe=self.was_probe or later.was_probe,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A receiver's row."""

    failures: int = 0
    trips: int = 0
    #: Seconds until its breaker lets a probe through, negative if it does; None: it is closed.
    wait: float | None = None
    is_prompt: bool = False

    def after(self, heard: Heard) -> "Known":
        """The row after these tries."""
        if heard.has_answered:
            return Known(is_prompt=heard.is_prompt)
        failures = self.failures + heard.failures
        trips, wait = self.trips, self.wait
        # Other tries that began before it opened say nothing new.
        if heard.was_probe or (wait is None and failures >= OPENS_AFTER):
            trips += 1
            wait = min(LONGEST_OPEN, FIRST_OPEN * 2.0 ** (min(trips, 32) - 1))
        return Known(failures=failures, trips=trips, wait=wait, is_prompt=self.is_prompt)


async def waits_of(database: Database, keys: Collection[Key]) -> dict[Key, float | None]:
    """Seconds for which each receiver with an open breaker must be left alone.

    None for the one delivery of a receiver that may probe it now: the breaker stays open for
    others, in all processes. Receivers with a closed breaker are left out.
    """
    if not keys:
        return {}
    found = await database.fetch(
        """
        WITH wanted AS (
            SELECT receiver.tenant, receiver.host, open_until
            FROM receiver JOIN unnest(%(tenants)s::text[], %(hosts)s::text[])
                 AS asked(tenant, host) USING (tenant, host)
            WHERE open_until IS NOT NULL
        ), over AS (
            SELECT tenant, host FROM receiver JOIN wanted USING (tenant, host)
            WHERE receiver.open_until <= now()
            ORDER BY tenant, host FOR UPDATE OF receiver
        ), probing AS (
            UPDATE receiver SET open_until = now() + %(lasts)s * interval '1 second'
            FROM over WHERE (receiver.tenant, receiver.host) = (over.tenant, over.host)
            RETURNING receiver.tenant, receiver.host
        )
        SELECT tenant, host, probing.host IS NOT NULL AS may_probe,
               CASE WHEN open_until > now() THEN extract(epoch FROM open_until - now())::float8
                    ELSE %(lasts)s END AS wait
        FROM wanted LEFT JOIN probing USING (tenant, host)
        """,
        {
            "tenants": [key.tenant for key in keys],
            "hosts": [key.host for key in keys],
            "lasts": PROBE_LASTS,
        },
    )
    return {
        Key(tenant=row["tenant"], host=row["host"]): None if row["may_probe"] else row["wait"]
        for row in found
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    tenant: str
    host: str
    failures: int
    trips: int
    wait: float | None
    is_prompt: bool
    is_fresh: bool


async def note(connection: Connection, heard: Mapping[Key, Heard]) -> None:
    """Record what tries showed; a receiver that answers as before costs no write."""
    keys = sorted(heard)
    rows = await fetch_rows(
        connection,
        _Row,
        f"""
        SELECT tenant, host, failures, trips, is_prompt,
               extract(epoch FROM open_until - now())::float8 AS wait,
               seen_at > now() - {SEEN_EVERY} * interval '1 second' AS is_fresh
        FROM receiver JOIN unnest(%s::text[], %s::text[]) AS asked(tenant, host)
             USING (tenant, host)
        ORDER BY tenant, host FOR UPDATE OF receiver
        """,  # noqa: S608 - a constant
        ([key.tenant for key in keys], [key.host for key in keys]),
    )
    before = {Key(tenant=row.tenant, host=row.host): row for row in rows}
    after = list[tuple[Key, Known]]()
    for key in keys:
        row = before.get(key)
        known = (
            Known(failures=row.failures, trips=row.trips, wait=row.wait, is_prompt=row.is_prompt)
            if row
            else Known()
        )
        new = known.after(heard[key])
        if row is None or not row.is_fresh or new != known:
            after.append((key, new))
    await _write(connection, after)


async def _write(connection: Connection, rows: Sequence[tuple[Key, Known]]) -> None:
    if not rows:
        return
    await connection.execute(
        """
        INSERT INTO receiver (tenant, host, failures, trips, open_until, is_prompt, seen_at)
        SELECT tenant, host, failures, trips, now() + wait * interval '1 second', is_prompt, now()
        FROM unnest(%s::text[], %s::text[], %s::int[], %s::int[], %s::float8[], %s::bool[])
             AS new(tenant, host, failures, trips, wait, is_prompt)
        ORDER BY tenant, host
        ON CONFLICT (tenant, host) DO UPDATE
        SET failures = excluded.failures, trips = excluded.trips,
            open_until = excluded.open_until, is_prompt = excluded.is_prompt,
            seen_at = excluded.seen_at
        """,
        (
            [key.tenant for key, _ in rows],
            [key.host for key, _ in rows],
            [known.failures for _, known in rows],
            [known.trips for _, known in rows],
            [known.wait for _, known in rows],
            [known.is_prompt for _, known in rows],
        ),
    )


async def forget(connection: Connection, key: Key) -> None:
    """Forget a receiver, so that it is tried at once."""
    await connection.execute(
        "DELETE FROM receiver WHERE tenant = %s AND host = %s", (key.tenant, key.host)
    )
