"""What a quiet tenant waited for, counted in rows: claims of others that passed its rows over.

A trigger of the run's own notes each claim, and PostgreSQL when each transaction was committed. A
committed row is in the next claim of its kind and lane, whatever others have due: so says the order
of turns (`scheduler.claim`, `scheduler.turns`). Time says nothing here: while workers or servers
are dead, frozen or slow, nobody claims; and what befalls a row after its first claim is no matter
of turns.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from models.verbs import What
from scheduler.claim import SHARED_LANES, SUSPECT
from tests.faults.harness.stack import FaultStack, Row

#: The kinds that are judged.
KINDS = (What.PREPARE, What.SUBMIT, What.DELIVER)

_JUDGED = ", ".join(f"'{what}'" for what in KINDS)
NOTE_CLAIMS = f"""
CREATE SCHEMA chaos;
CREATE TABLE chaos.born (
    what text NOT NULL, id text NOT NULL, tenant text NOT NULL, PRIMARY KEY (what, id));
CREATE FUNCTION chaos.note_births() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.born (what, id, tenant)
    SELECT what, id, tenant FROM put WHERE what IN ({_JUDGED}) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_births AFTER INSERT ON due REFERENCING NEW TABLE AS put
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.note_births();
CREATE TABLE chaos.claim (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, began timestamptz NOT NULL,
    lease uuid NOT NULL, what text NOT NULL, id text NOT NULL, lane text NOT NULL,
    tenant text NOT NULL, tries int NOT NULL);
CREATE INDEX ON chaos.claim (what, id);
CREATE FUNCTION chaos.note_claims() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.claim (began, lease, what, id, lane, tenant, tries)
    SELECT statement_timestamp(), claimed.lease, claimed.what, claimed.id, claimed.lane,
           claimed.tenant, claimed.tries
    FROM claimed JOIN before USING (what, id)
    WHERE claimed.what IN ({_JUDGED})
      AND claimed.lease IS NOT NULL AND claimed.tries > before.tries;
    RETURN NULL;
END $$;
CREATE TRIGGER note_claims AFTER UPDATE ON due
    REFERENCING OLD TABLE AS before NEW TABLE AS claimed
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.note_claims();
"""  # noqa: S608 - constants

# A note of a birth is never changed, so the transaction that wrote it is that of its row. Until its
# receiver has answered a tenant may hold one delivery, so another waits for its own tenant's.
_ROWS = """
SELECT born.what, born.id, greatest(pg_xact_commit_timestamp(born.xmin), (
           SELECT max(earlier.finished_at)
           FROM delivery JOIN delivery AS earlier ON earlier.tenant = delivery.tenant
                AND earlier.created_at < delivery.created_at
           WHERE born.what = 'deliver' AND delivery.id = born.id
             AND earlier.finished_at < (SELECT min(began) FROM chaos.claim
                                        WHERE what = 'deliver' AND claim.id = born.id))) AS since
FROM chaos.born WHERE born.tenant = %s
"""
CLAIMS = "SELECT began, lease::text, what, id, lane, tenant, tries FROM chaos.claim ORDER BY n"

# In seconds, to be shown.
_TO_SEND = """
SELECT extract(epoch FROM attempt.sent_at - job.created_at)::float8 AS wait
FROM job JOIN attempt ON attempt.job = job.id
WHERE job.tenant = %s AND attempt.sent_at IS NOT NULL AND attempt.replaces IS NULL
"""
_TO_DELIVER = """
SELECT extract(epoch FROM min(delivery_try.at) - delivery.created_at)::float8 AS wait
FROM delivery JOIN delivery_try ON delivery_try.delivery = delivery.id
WHERE delivery.tenant = %s GROUP BY delivery.id
"""
#: Rows of others that were sent, or delivered, between a row's commit and its own, on any lane.
_SENT_BEFORE = """
WITH asked AS (SELECT %s::text AS tenant, %s::text[] AS others)
SELECT (SELECT count(*) FROM attempt AS other JOIN job AS of_other ON of_other.id = other.job
        WHERE of_other.tenant = ANY(others)
          AND other.sent_at > job.created_at AND other.sent_at < attempt.sent_at)::int AS rows
FROM asked JOIN job USING (tenant) JOIN attempt ON attempt.job = job.id
WHERE attempt.sent_at IS NOT NULL AND attempt.replaces IS NULL
"""
_DELIVERED_BEFORE = """
WITH asked AS (SELECT %s::text AS tenant, %s::text[] AS others), tried AS (
    SELECT delivery.id, delivery.tenant, delivery.created_at,
           delivery_try.at - milliseconds * interval '1 ms' AS began
    FROM delivery JOIN delivery_try ON delivery_try.delivery = delivery.id
)
SELECT (SELECT count(*) FROM tried AS other WHERE other.tenant = ANY(others)
          AND other.began > own.created_at AND other.began < own.began)::int AS rows
FROM asked JOIN (SELECT tenant, id, created_at, min(began) AS began FROM tried
                 GROUP BY 1, 2, 3) AS own USING (tenant)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One row of a claim, in the order in which they were made."""

    #: When its statement began; with the lease it names the claim.
    began: datetime
    lease: str
    what: str
    id: str
    lane: str
    tenant: str
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What one row of the quiet tenant waited for."""

    what: str
    id: str
    #: Rows of hostile tenants in claims that began after its commit and before its own claim.
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How many rows of others may come first."""

    #: Processes that claim: each may be in the middle of a claim when a row is committed.
    processes: int
    #: Everybody who takes turns.
    tenants: int

    @property
    def rows(self) -> int:
        """One turn of all tenants in each process.

        A claim serves as many tenants as it has places, and the next one goes on after them: so a
        row may be left to the turn's end where places are few.
        """
        return self.processes * self.tenants


def note_claims(stack: FaultStack) -> None:
    """Let the database note each claim and each commit's time from now on."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        connection.execute(NOTE_CLAIMS.encode())
    stack.stop_database()
    stack.start_database()


def waits(
    stack: FaultStack, *, tenant: str, hostile: Collection[str], bound: Bound
) -> list[Waited]:
    """What each of the tenant's rows waited for; one that was never claimed is left out."""
    quiet = stack.rows(_ROWS, tenant)
    claims = [Claim(**row) for row in stack.rows(CLAIMS)]
    return waited(quiet, claims, hostile=hostile, bound=bound)


def waited(
    quiet: Sequence[Row], claims: Sequence[Claim], *, hostile: Collection[str], bound: Bound
) -> list[Waited]:
    """As `waits`, of these rows (`what`, `id`, `since`) and claims.

    As many claims as there are processes are left out of each count: they may have looked before
    the commit could be seen. Rows that killed their workers are claimed alone, without turns.
    """
    together: dict[tuple[datetime, str, str], list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.tries <= SUSPECT:
            together[claim.began, claim.what, claim.lease].append(claim)
    by_kind: dict[str, list[list[Claim]]] = defaultdict(list)
    for began, what, lease in sorted(together):
        by_kind[what].append(together[began, what, lease])
    found = list[Waited]()
    for row in quiet:
        passed = _passed_over(row, by_kind[row["what"]], hostile)
        if passed is not None:
            late = sum(passed[bound.processes :])
            found.append(Waited(what=row["what"], id=row["id"], rows=late))
    return found


def _passed_over(
    row: Row, claims: Sequence[Sequence[Claim]], hostile: Collection[str]
) -> list[int] | None:
    """Rows of hostile tenants in each claim before the row's own; None: it never was claimed."""
    own = next((n for n, claim in enumerate(claims) if any(r.id == row["id"] for r in claim)), None)
    if own is None:
        return None
    lane = next(each.lane for each in claims[own] if each.id == row["id"])
    began = claims[own][0].began
    counts = (
        sum(
            each.tenant in hostile and (What(each.what) in SHARED_LANES or each.lane == lane)
            for each in claim
        )
        for claim in claims[:own]
        if row["since"] < claim[0].began < began
    )
    return [count for count in counts if count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A quiet tenant's waits, as a verdict and as rows of a table."""

    broken: list[str]
    table: list[tuple[str, object]]


def judge_waits(
    stack: FaultStack, *, tenant: str, hostile: Collection[str], processes: int
) -> Shown:
    """Whether turns held, by rows; seconds are shown and not judged."""
    bound = Bound(processes=processes, tenants=len(hostile) + 2)
    each = waits(stack, tenant=tenant, hostile=hostile, bound=bound)
    broken = [
        f"{one.id}: {one.rows} rows of hostile tenants were claimed before its {one.what}, "
        f"more than {bound.rows}"
        for one in each
        if one.rows > bound.rows
    ]
    table: list[tuple[str, object]] = []
    for what in KINDS:
        rows = [one.rows for one in each if one.what == what]
        broken += [f"nobody waited for a {what}, so nothing is shown"] * (not rows)
        words = f"p99 {_p99(rows):g}, most {max(rows, default=0)} of {bound.rows}; {len(rows)} rows"
        table.append((f"  hostile rows claimed before its {what}", words))
    for words, sql in (("sent", _SENT_BEFORE), ("delivered", _DELIVERED_BEFORE)):
        rows = [row["rows"] for row in stack.rows(sql, tenant, list(hostile))]
        told = f"p99 {_p99(rows):g}, most {max(rows, default=0)}"
        table.append((f"  hostile rows {words} between its commit and its own", told))
    for words, sql in (("sent", _TO_SEND), ("delivered", _TO_DELIVER)):
        seconds = [row["wait"] for row in stack.rows(sql, tenant)]
        table.append((f"  seconds until {words}", in_seconds(seconds)))
    return Shown(broken=broken, table=table)


def in_seconds(waits: Sequence[float]) -> str:
    if not waits:
        return "none"
    middle = sorted(waits)[len(waits) // 2]
    return f"median {middle:.2f}, p99 {_p99(waits):.2f}, most {max(waits):.2f}"


def _p99(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0
