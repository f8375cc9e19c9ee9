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
                Panel(
                    title="Unfinished jobs",
                    queries=(("max by (state) (longtake_jobs)", "{{state}}"),),
                ),
                Panel(
                    title="Moves of jobs",
                    queries=((rate("longtake_job_moves_total", "state"), "{{state}}"),),
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
                Panel(
                    title="Oldest due",
                    queries=(
                        ("max by (what, lane) (longtake_due_oldest_seconds)", "{{what}} {{lane}}"),
                    ),
                    unit="s",
                    explained="Above minutes: too few workers, a slow provider, or no beat.",
                ),
                Panel(
                    title="Due rows",
                    queries=(("max by (what, lane) (longtake_due_rows)", "{{what}} {{lane}}"),),
                ),
                Panel(
                    title="Rows in flight",
                    queries=(
                        ("max by (what, lane) (longtake_in_flight_rows)", "{{what}} {{lane}}"),
                    ),
                    explained="Held by workers; polls are held for as long as they are watched.",
                ),
                Panel(
                    title="Operations watched",
                    queries=(("max(longtake_operations_watched)", "operations"),),
                    explained="Polled from memory, until they end.",
                ),
                Panel(
                    title="Looks run late",
                    queries=(("max(longtake_watchers_late_seconds)", "seconds"),),
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
                Panel(
                    title="Rows that our own work fails on",
                    queries=(("max by (what) (longtake_due_set_aside_rows)", "{{what}}"),),
                ),
            ),
        ),
        (
            "Money and doubt",
            (
                Panel(
                    title="May have been paid for",
                    queries=(("max(longtake_attempts_unknown_dollars)", "dollars"),),
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
                Panel(
                    title="Requests",
                    queries=((rate("longtake_http_requests_total", "status"), "{{status}}"),),
                    unit="reqps",
                ),
                Panel(
                    title="Slowest routes, p95",
                    queries=(
                        (
                            "topk(10, "
                            + quantile(
                                0.95, "longtake_http_request_duration_seconds", "method,route"
                            )
                            + ")",
                            "{{method}} {{route}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    title="Tries of webhooks",
                    queries=(
                        (rate("longtake_work_total", "outcome", 'what="deliver"'), "{{outcome}}"),
                    ),
                    unit="ops",
                ),
                Panel(
                    title="Receivers with an open breaker",
                    queries=(("max(longtake_receivers_open)", "receivers"),),
                ),
            ),
        ),
        (
            "Processes and machines",
            (
                Panel(
                    title="Workers by queue",
                    queries=(("sum by (queue) (longtake_worker_queue)", "{{queue}}"),),
                ),
                Panel(
                    title="Seconds since the last tick",
                    queries=(("min(longtake_tick_age_seconds)", "seconds"),),
                    unit="s",
                ),
                Panel(
                    title="Free disk",
                    queries=(("longtake_disk_free_bytes", "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    title="Oldest snapshot",
                    queries=(("max(longtake_snapshot_oldest_seconds)", "seconds"),),
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
                Panel(
                    title="Share of requests that fail",
                    queries=(
                        (
                            rate("longtake_work_total", "provider", _FAILED)
                            + " / "
                            + rate("longtake_work_total", "provider", _ASKED),
                            "{{provider}}",
                        ),
                    ),
                    unit="percentunit",
                ),
                Panel(
                    title="Submits",
                    queries=(
                        (
                            rate("longtake_work_total", "provider,outcome", 'what="submit"'),
                            "{{provider}} {{outcome}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    title="Polls",
                    queries=(
                        (
                            rate("longtake_work_total", "provider,outcome", 'what="poll"'),
                            "{{provider}} {{outcome}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    title="Downloads",
                    queries=(
                        (
                            rate("longtake_work_total", "provider,outcome", 'what="store"'),
                            "{{provider}} {{outcome}}",
                        ),
                    ),
                    unit="ops",
                ),
            ),
        ),
        (
            "Times",
            tuple(
                Panel(
                    title=f"{title}, p95",
                    queries=(
                        (
                            quantile(
                                0.95,
                                "longtake_work_duration_seconds",
                                "provider",
                                f'what="{what}"',
                            ),
                            "{{provider}}",
                        ),
                    ),
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
                Panel(
                    title="Refused by their providers",
                    queries=(
                        (
                            "max by (lane, code) (longtake_accounts_blocked)",
                            "{{lane}} {{code}}",
                        ),
                    ),
                ),
                Panel(
                    title="Paused",
                    queries=(("max by (lane) (longtake_accounts_paused)", "{{lane}}"),),
                ),
                Panel(
                    title="Attempts that wait for an account",
                    queries=(
                        ("max by (lane, code) (longtake_attempts_waiting)", "{{lane}} {{code}}"),
                    ),
                ),
            ),
        ),
    ),
)

BOARDS: Final = (OVERVIEW, PROVIDERS)
