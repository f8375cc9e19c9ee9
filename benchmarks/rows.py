"""The rows of a run: accepted operations whose polls are due."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

#: The account, and therefore the lane, of every operation.
LANE = "runway"

_JOBS = """
INSERT INTO job (id, tenant, request_id, state, model, prompt, request, plan, scene,
                 progress_source, typical_seconds, estimated_cost_micros, unknown_policy,
                 deadline_at, accepted_at)
SELECT 'job_' || %(prefix)s || to_char(n, 'FM0000000'), 'default', 'req_' || n, 'processing',
       'runway-gen3', 'a prompt of ordinary length about a boat on a lake at dawn', '{}', '{}', '',
       'reported', %(typical)s, 250000, 'at_most_once', now() + interval '1 day', now()
FROM generate_series(0, %(count)s - 1) AS n
"""
_ATTEMPTS = """
INSERT INTO attempt (id, job, provider, account, route, state, marker, count, operation_id,
                     accepted_at)
SELECT 'att_' || %(prefix)s || to_char(n, 'FM0000000'),
       'job_' || %(prefix)s || to_char(n, 'FM0000000'), %(lane)s, %(lane)s, 'runway/gen3/5s',
       'accepted', 'mark_' || %(prefix)s || n, 1,
       'op-' || %(prefix)s || to_char(n, 'FM0000000'), now()
FROM generate_series(0, %(count)s - 1) AS n
"""
_OUTPUTS = """
INSERT INTO output (id, job, attempt, position, state)
SELECT 'out_' || right(id, -4), job, id, 0, 'expected' FROM attempt
"""
# Due rows are scattered among the others, as after an hour of work.
_DUE = """
INSERT INTO due (what, id, lane, tenant, at)
SELECT 'poll', id, account, 'default',
       now() + CASE WHEN hashtext(id)::bigint + 2147483648 < 4294967296 * %(share)s
                    THEN interval '0' ELSE interval '1 hour' END
FROM attempt
"""
# Ends are likely at any moment, so polls follow each other as closely as the floor allows.
_LEARNED = """
INSERT INTO duration (route, p10, p50, p90, samples)
VALUES ('runway/gen3/5s', %(typical)s / 20, %(typical)s, %(typical)s * 20, 200)
ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50, p90 = excluded.p90
"""


def fresh_operations(
    database: str, prefix: str, *, count: int, typical: float, due: int | None = None
) -> None:
    """Replace all rows by `count` accepted operations that typically take `typical` seconds.

    About `due` of them, by default all, are due. Every run starts like this: no dead rows, fresh
    statistics, a checkpoint.
    """
    share = 1.0 if due is None else due / count
    given = {"prefix": prefix, "count": count, "typical": typical, "lane": LANE, "share": share}
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE due, job CASCADE")
        for statement in (_JOBS, _ATTEMPTS, _OUTPUTS, _DUE, _LEARNED):
            connection.execute(statement, given)
        connection.execute("VACUUM (ANALYZE) due, job, attempt, output")
        connection.execute("CHECKPOINT")


def ids_of(prefix: str, count: int) -> Iterator[tuple[str, str]]:
    """Attempt and operation ids, in order."""
    return ((f"att_{prefix}{n:07}", f"op-{prefix}{n:07}") for n in range(count))


def polls_written(database: str) -> int:
    """Number of polls recorded in the database."""
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT sum(polls) FROM attempt").fetchone()
    assert row is not None
    return int(row[0])


def polls_failed(database: str) -> int:
    """Operations whose last poll brought no update, or that are no longer polled."""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT count(*) FROM attempt WHERE poll_faults > 0 OR state <> 'accepted'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def polls_misread(database: str) -> int:
    """Operations whose stored progress differs from the vendor's at the last poll that is counted.

    For a vendor that adds one percent with each poll.
    """
    with psycopg.connect(database) as connection:
        row = connection.execute(
            """
            SELECT count(*) FROM attempt
            WHERE round(coalesce(progress, 0) * 100) <> least(polls, 99)
            """
        ).fetchone()
    assert row is not None
    return int(row[0])


def ended(database: str) -> int:
    """Number of operations that the database knows to have succeeded."""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT count(*) FROM attempt WHERE state = 'succeeded'"
        ).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Written:
    """What PostgreSQL has written since it started."""

    #: Row versions made or deleted, in all of our tables.
    versions: int
    #: Bytes of write-ahead log.
    wal: int

    @classmethod
    def so_far(cls, database: str) -> "Written":
        """As told by sessions that have ended, or by idle ones a second ago."""
        with psycopg.connect(database) as connection:
            row = connection.execute(
                """
                SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint,
                       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint
                FROM pg_stat_user_tables
                """
            ).fetchone()
        assert row is not None
        return cls(*row)
