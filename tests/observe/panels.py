"""What the dashboards show: each panel's title, unit and queries, as Prometheus takes them."""

from dataclasses import dataclass
from typing import Final

#: Grafana puts the scrape interval's multiple here.
_RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One graph; `queries` are pairs of a query and the legend of its lines."""

    title: str
    queries: tuple[tuple[str, str], ...]
    #: As Grafana names units: `s`, `short`, `percentunit`, `currencyUSD`, `reqps`, `bytes`.
    unit: str = "short"
    #: What to make of it.
    explained: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard: rows of panels by the rows' titles."""

    uid: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def one(title: str, query: str, legend: str, *, unit: str = "short", explained: str = "") -> Panel:
    """A panel of one query."""
    return Panel(title=title, queries=((query, legend),), unit=unit, explained=explained)


def rate(metric: str, by: str, where: str = "") -> str:
    """The rate of a counter, in its unit a second."""
    return f"sum by ({by}) (rate({metric}{{{where}}}{_RATE}))"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram."""
    labels = f"le,{by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', labels, where)})"


def quantiles(metric: str, where: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((quantile(share, metric, where=where), f"p{share:.0%}"[:-1]) for share in _SHARES)


_SHARES = (0.5, 0.95, 0.99)
_FAILED = 'what=~"submit|poll",outcome=~"unknown|put_off|held_up|blocked|denied|strange|faulty"'
_ASKED = 'what=~"submit|poll",outcome!~"unsendable|postponed|unprepared|waits|uncleared|not_ours"'

OVERVIEW: Final = Board(
    uid="longtake",
    title="Longtake",
    rows=(
        (
            "Jobs",
            (
                one("Unfinished jobs", "max by (state) (longtake_jobs)", "{{state}}"),
                one(
                    "Moves of jobs",
                    rate("longtake_job_moves_total", "state"),
                    "{{state}}",
                    unit="ops",
                ),
                Panel(
                    title="From acceptance to video",
                    queries=quantiles("longtake_job_duration_seconds", 'state="complete"'),
                    unit="s",
                ),
                Panel(
                    title="From acceptance to the first POST",
                    queries=quantiles("longtake_first_post_seconds"),
                    unit="s",
                    explained="Without lines of batches, which wait for each other.",
                ),
            ),
        ),
        (
            "Work that waits",
            (
                one(
                    "Oldest due",
                    "max by (what, lane) (longtake_due_oldest_seconds)",
                    "{{what}} {{lane}}",
                    unit="s",
                    explained="Above minutes: too few workers, a slow provider, or no beat.",
                ),
                one("Due rows", "max by (what, lane) (longtake_due_rows)", "{{what}} {{lane}}"),
                one(
                    "Rows in flight",
                    "max by (what, lane) (longtake_in_flight_rows)",
                    "{{what}} {{lane}}",
                    explained="Held by workers; polls are held for as long as they are watched.",
                ),
                one(
                    "Operations watched",
                    "max(longtake_operations_watched)",
                    "operations",
                    explained="Polled from memory, until they end.",
                ),
                one(
                    "Looks run late",
                    "max(longtake_watchers_late_seconds)",
                    "seconds",
                    unit="s",
                    explained="Of the worker that is furthest behind.",
                ),
                Panel(
                    title="Rows of one round",
                    queries=(
                        (quantile(0.5, "longtake_round_rows", "what"), "{{what}} p50"),
                        (quantile(0.95, "longtake_round_rows", "what"), "{{what}} p95"),
                    ),
                ),
                one(
                    "Rows that our own work fails on",
                    "max by (what) (longtake_due_set_aside_rows)",
                    "{{what}}",
                ),
            ),
        ),
        (
            "Money and doubt",
            (
                one(
                    "May have been paid for",
                    "max(longtake_attempts_unknown_dollars)",
                    "dollars",
                    unit="currencyUSD",
                ),
                Panel(
                    title="Attempts in doubt",
                    queries=(
                        ("max(longtake_attempts_unknown)", "unknown"),
                        ("max(longtake_attempts_parked)", "parked"),
                        (
                            "sum by (code) (max by (lane, code) (longtake_attempts_waiting))",
                            "{{code}}",
                        ),
                    ),
                ),
                Panel(
                    title="Batches",
                    queries=(
                        ("max(longtake_batches)", "in progress"),
                        ("max(longtake_batch_lines_held)", "lines held"),
                    ),
                ),
                Panel(
                    title="Dead letters and removals",
                    queries=(
                        ("max(longtake_intake_failures)", "dead letters"),
                        ("max(longtake_removals)", "objects to remove"),
                    ),
                ),
            ),
        ),
        (
            "API and webhooks",
            (
                one(
                    "Requests",
                    rate("longtake_http_requests_total", "status"),
                    "{{status}}",
                    unit="reqps",
                ),
                one(
                    "Slowest routes, p95",
                    "topk(10, "
                    + quantile(0.95, "longtake_http_request_duration_seconds", "method,route")
                    + ")",
                    "{{method}} {{route}}",
                    unit="s",
                ),
                one(
                    "Tries of webhooks",
                    rate("longtake_work_total", "outcome", 'what="deliver"'),
                    "{{outcome}}",
                    unit="ops",
                ),
                one("Receivers with an open breaker", "max(longtake_receivers_open)", "receivers"),
            ),
        ),
        (
            "Processes and machines",
            (
                one("Workers by queue", "sum by (queue) (longtake_worker_queue)", "{{queue}}"),
                one(
                    "Seconds since the last tick",
                    "min(longtake_tick_age_seconds)",
                    "seconds",
                    unit="s",
                ),
                one("Free disk", "longtake_disk_free_bytes", "{{instance}}", unit="bytes"),
                one(
                    "Oldest snapshot",
                    "max(longtake_snapshot_oldest_seconds)",
                    "seconds",
                    unit="s",
                    explained="PostgreSQL keeps every row version that is younger than it.",
                ),
            ),
        ),
    ),
)

PROVIDERS: Final = Board(
    uid="longtake-providers",
    title="Longtake providers",
    rows=(
        (
            "Answers",
            (
                one(
                    "Share of requests that fail",
                    rate("longtake_work_total", "provider", _FAILED)
                    + " / "
                    + rate("longtake_work_total", "provider", _ASKED),
                    "{{provider}}",
                    unit="percentunit",
                ),
                *(
                    one(
                        title,
                        rate("longtake_work_total", "provider,outcome", f'what="{what}"'),
                        "{{provider}} {{outcome}}",
                        unit="ops",
                    )
                    for what, title in (
                        ("submit", "Submits"),
                        ("poll", "Polls"),
                        ("store", "Downloads"),
                    )
                ),
            ),
        ),
        (
            "Times",
            tuple(
                one(
                    f"{title}, p95",
                    quantile(
                        0.95,
                        "longtake_work_duration_seconds",
                        "provider",
                        f'what="{what}"',
                    ),
                    "{{provider}}",
                    unit="s",
                )
                for what, title in (
                    ("submit", "A submit"),
                    ("poll", "A poll"),
                    ("store", "A download"),
                )
            ),
        ),
        (
            "Accounts",
            (
                one(
                    "Refused by their providers",
                    "max by (lane, code) (longtake_accounts_blocked)",
                    "{{lane}} {{code}}",
                ),
                one("Paused", "max by (lane) (longtake_accounts_paused)", "{{lane}}"),
                one(
                    "Attempts that wait for an account",
                    "max by (lane, code) (longtake_attempts_waiting)",
                    "{{lane}} {{code}}",
                ),
            ),
        ),
    ),
)

BOARDS: Final = (OVERVIEW, PROVIDERS)
