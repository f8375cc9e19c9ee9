"""The gauges: each is a name, a help text, its labels and the SQL that reads it.

Names follow OpenTelemetry's conventions as Prometheus writes them: a unit as suffix, no `_total` on
a gauge. No label holds a job, a tenant, a worker or an address: receivers' hosts are summed up.
Statements read rows that are due or unfinished. The one of all attempts in doubt reads them by
their index; since they may be many, it is read once a minute, and given up after seconds.
"""

from dataclasses import dataclass
from typing import Final

from models.accounts import WAITING
from models.due import HELD_LANE, SINCE
from models.estimate import SHARE_OF_ESTIMATE
from models.snapshots import OLD, OLD_SNAPSHOTS
from models.ticks import TICK_AGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One family of samples; `sql` returns a column per label and a column `value`."""

    name: str
    help: str
    sql: str
    labels: tuple[str, ...] = ()
    #: Seconds for which a reading is good, where the statement may take long.
    lasts: float = 0.0


#: Rows by kind and lane; a receiver's host, or a tenant, stays out.
_ROWS = """
SELECT what, CASE WHEN what IN ('deliver', 'prepare') THEN '' ELSE lane END AS lane,
       {value} AS value
FROM due WHERE {which} GROUP BY 1, 2
"""
#: A lease whose time has come holds nothing: its worker died.
_IS_DUE = "at <= now()"
#: Claims end within seconds; what a process watches is far in the future.
_IS_HELD = "lease IS NOT NULL AND at > now()"

_OLD = OLD_SNAPSHOTS.replace("%(age)s", f"{OLD:g}")

GAUGES: Final = (
    Gauge(
        name="longtake_jobs",
        help="Jobs that are not final, by state.",
        labels=("state",),
        # Each job that is not final has a due row for its deadline.
        sql="""
        SELECT job.state, count(*) AS value FROM due JOIN job ON job.id = due.id
        WHERE due.what = 'expire' GROUP BY 1
        """,
    ),
    Gauge(
        name="longtake_due_rows",
        help="Rows that are due and that no worker holds, by kind of work and lane.",
        labels=("what", "lane"),
        sql=_ROWS.format(which=_IS_DUE, value="count(*)"),
    ),
    Gauge(
        name="longtake_due_oldest_seconds",
        help="Seconds for which the oldest of them has waited, by kind of work and lane.",
        labels=("what", "lane"),
        sql=_ROWS.format(
            which=_IS_DUE, value=f"max(extract(epoch FROM now() - ({SINCE})))::float8"
        ),
    ),
    Gauge(
        name="longtake_in_flight_rows",
        help="Rows that workers hold, polls that they watch among them, by kind of work and lane.",
        labels=("what", "lane"),
        sql=_ROWS.format(which=_IS_HELD, value="count(*)"),
    ),
    Gauge(
        name="longtake_due_set_aside_rows",
        help="Rows set aside because our own work on them failed, by kind of work.",
        labels=("what",),
        sql="SELECT what, count(*) AS value FROM due WHERE faults > 0 GROUP BY 1",
    ),
    Gauge(
        name="longtake_operations_watched",
        help="Operations that processes watch from memory, as their heartbeats tell.",
        sql="SELECT coalesce(sum(watched), 0) AS value FROM holder WHERE dead_at IS NULL",
    ),
    Gauge(
        name="longtake_watchers_late_seconds",
        help="Seconds by which the looks of the process that is furthest behind run late.",
        # One that gave no sign of life looks at nothing, whatever it said last.
        sql="""
        SELECT coalesce(max(greatest(late, silent - lives_for)), 0)::float8 AS value
        FROM holder, LATERAL (SELECT extract(epoch FROM now() - beat) AS silent) AS how_long
        WHERE dead_at IS NULL
        """,
    ),
    Gauge(
        name="longtake_tick_age_seconds",
        help="Seconds since beat's tick was last run, within five; none if it never was.",
        sql=TICK_AGE,
    ),
    Gauge(
        name="longtake_attempts_unknown",
        help="Attempts whose provider's answer was lost and that a look-up may still settle.",
        sql="SELECT count(*) AS value FROM due WHERE what = 'look_up'",
    ),
    Gauge(
        name="longtake_attempts_unknown_dollars",
        help="What all attempts without a known answer may have cost, in US dollars.",
        # Most providers offer no look-up: their attempts stay unknown, with no row that is due,
        # until an operator settles them. By the index attempt_unknown.
        sql=f"""
        SELECT coalesce(sum({SHARE_OF_ESTIMATE}), 0)::float8 / 1000000 AS value
        FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.state = 'unknown'
        """,  # noqa: S608 - a constant
        lasts=60.0,
    ),
    Gauge(
        name="longtake_attempts_parked",
        help="Attempts held back after a restore, since they may have been sent before it.",
        sql="""
        SELECT count(*) AS value FROM due JOIN attempt ON attempt.id = due.id
        WHERE due.what = 'submit' AND attempt.parked_at IS NOT NULL
        """,
    ),
    Gauge(
        name="longtake_attempts_waiting",
        help="Attempts that wait for an account, by lane and reason: paused, capped or refused.",
        labels=("lane", "code"),
        sql=f"SELECT account AS lane, code, count AS value FROM ({WAITING}) AS waiting",  # noqa: S608 - a constant
    ),
    Gauge(
        name="longtake_accounts_blocked",
        help="1 for each account that its provider refuses, by lane and reason.",
        labels=("lane", "code"),
        sql="""
        SELECT name AS lane, block_code AS code, 1 AS value FROM account_rule
        WHERE blocked_at IS NOT NULL
        """,
    ),
    Gauge(
        name="longtake_accounts_paused",
        help="1 for each account, or provider as in runway:*, that an operator paused.",
        labels=("lane",),
        sql="""
        SELECT name AS lane, 1 AS value FROM account_rule
        WHERE paused_at IS NOT NULL AND (paused_until IS NULL OR paused_until > now())
        """,
    ),
    Gauge(
        name="longtake_batches",
        help="Batches that are in progress.",
        sql="SELECT count(*) AS value FROM due WHERE what = 'tally'",
    ),
    Gauge(
        name="longtake_batch_lines_held",
        help="Lines of batches that wait for others of their batch or tenant to end.",
        sql=f"SELECT count(*) AS value FROM due WHERE what = 'expire' AND lane = '{HELD_LANE}'",  # noqa: S608 - a constant
    ),
    Gauge(
        name="longtake_snapshot_oldest_seconds",
        help="Age of the oldest snapshot above a minute, which keeps dead rows; 0 without one.",
        sql=f"SELECT coalesce(max(seconds), 0) AS value FROM ({_OLD}) AS old",  # noqa: S608 - constants
    ),
    Gauge(
        name="longtake_snapshots_old",
        help="Snapshots older than a minute, and replication slots that nobody reads.",
        sql=f"SELECT count(*) AS value FROM ({_OLD}) AS old",  # noqa: S608 - constants
    ),
    Gauge(
        name="longtake_removals",
        help="Objects of the storage that no row names any more and that are to be removed.",
        sql="SELECT count(*) AS value FROM removal",
    ),
    Gauge(
        name="longtake_receivers_open",
        help="Receivers, each a tenant's host, whose breaker is open after failures in a row.",
        sql="SELECT count(*) AS value FROM receiver WHERE open_until > now()",
    ),
    Gauge(
        name="longtake_intake_failures",
        help="Requests from the broker that could not be accepted and that are still listed.",
        sql="SELECT count(*) AS value FROM intake_failure",
    ),
)
