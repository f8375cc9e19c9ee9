"""The commands of `longtake batch`."""

from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import typer
from rich.table import Table
from rich.text import Text

from cli import show
from cli.api import Json
from cli.batches.cells import known_columns, nested
from cli.batches.connection import PATIENT, connected, show_errors
from cli.batches.documents import document
from cli.batches.saving import MANIFEST, save_results, save_videos
from cli.batches.watching import conclude, watch
from cli.errors import JobFailed, Refused
from cli.options import ApiKey, ApiUrl, AsJson
from longtake import Batch, Client, ConnectionFailed, Unavailable

app = typer.Typer(help="Many requests at once, from a file.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(metavar="ID", help="Batch id, as printed by submit.")]
Key = Annotated[str | None, typer.Option(help="Repeats with the same key create one batch.")]
Watch = Annotated[
    bool,
    typer.Option("--watch", "-w", help="Show progress until the batch ends; Ctrl-C leaves it."),
]
AppId = Annotated[str | None, typer.Option(help="App the batch is for, in usage reports.")]


@app.command()
def submit(
    file: Annotated[
        str,
        typer.Argument(
            help="JSON Lines as the API takes them, CSV with a header of fields, or a prompt a "
            "line; - reads standard input."
        ),
    ],
    *,
    watched: Watch = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all lines, print the estimate, accept nothing.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The batch's name.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model of lines that name none.")
    ] = None,
    defaults: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE", help="A field of lines that do not set it; repeatable."
        ),
    ] = None,
    gate: Annotated[str | None, typer.Option(help="Gate of lines that name none.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Most lines at work at a time.")] = None,
    priority: Annotated[str | None, typer.Option(help="low, normal or high.")] = None,
    deadline_seconds: Annotated[
        int | None, typer.Option(help="Total time that each line may take.")
    ] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(help="Refuse a batch whose estimate is above this.")
    ] = None,
    webhook_url: Annotated[str | None, typer.Option(help="URL to call when it ends.")] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(envvar="LONGTAKE_WEBHOOK_SECRET", help="Signs that webhook.")
    ] = None,
    on_invalid: Annotated[
        Literal["reject", "skip"] | None,
        typer.Option(help="Refuse the batch for an invalid line (default), or leave the line out."),
    ] = None,
    app_id: AppId = None,
    idempotency_key: Key = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit a file's lines as one batch, all or none, and print the batch's id.

    For example: [cyan]longtake batch submit prompts.txt -m runway-gen3 --dry-run[/]

    or: [cyan]longtake batch submit lines.csv --defaults duration_seconds=5 --watch[/]
    """
    line_defaults = _defaults(defaults or []) | ({"model": model} if model else {})
    given = {
        "defaults": line_defaults or None,
        "name": name,
        "gate": gate,
        "concurrency": concurrency,
        "priority": priority,
        "deadline_seconds": deadline_seconds,
        "max_cost_usd": max_cost_usd,
        "webhook_url": webhook_url,
        # A secret in the environment is for batches that have a webhook.
        "webhook_secret": webhook_secret if webhook_url else None,
        "on_invalid": on_invalid,
    }
    options = {option: value for option, value in given.items() if value is not None}
    if dry_run:
        _estimate(file, options, app_id=app_id, url=api_url, key=api_key, as_json=as_json)
        return
    with connected(api_url, api_key) as client:
        batch = _submitted(client, file, options, app_id=app_id, key=idempotency_key)
    _go_on(batch, api_url, api_key, watched=watched, as_json=as_json)


@app.command()
def status(
    batch_id: BatchId,
    *,
    watched: Watch = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show a batch's counts and cost; with --watch, exits 1 if a line ended without its video."""
    if watched:
        _watch_to_end(_checked(batch_id), api_url, api_key, as_json=as_json)
        return
    with connected(api_url, api_key) as client:
        batch = client.batches.get(_checked(batch_id))
    _show(batch, as_json=as_json)


@app.command("list")
def list_(
    *,
    status: Annotated[str | None, typer.Option(help="in_progress, completed, …")] = None,
    app_id: Annotated[str | None, typer.Option(help="Only this app's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of batches.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only batches older than this one.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    with connected(api_url, api_key) as client:
        pages = client.batches.list(status=status, app_id=app_id, limit=limit, after=after)
        batches = list(islice(pages, limit))
    if as_json:
        show.as_json([batch.raw for batch in batches])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "status", "lines", "complete", "failed", "cost", "created", "name"):
        table.add_column(heading, no_wrap=True)
    for batch in batches:
        counts, created = batch.counts, batch.created_at
        table.add_row(
            *(batch.id, batch.status, str(counts.total), str(counts.complete), str(counts.failed)),
            show.money(batch.cost_usd or 0),
            _minute(created) or "",
            Text(show.short(batch.name or "")),
        )
    show.out.print(table)


@app.command()
def results(
    batch_id: BatchId,
    *,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write JSON Lines here; - prints them."),
    ] = None,
    videos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Download the stored videos to this folder.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="Only lines of this status.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Bring a batch's results home, in the order of its lines, at any time.

    With --videos, a second run goes on where the first one ended: what is there with the right hash
    is kept.
    """
    to = out or (None if videos else "-")
    with connected(api_url, api_key, max_retries=PATIENT if videos else 4) as client:
        lines = save_results(client, _checked(batch_id), to=to, status=status)
        with lines:
            if videos is None:
                return
            saved = save_videos(client, lines, videos)
    came = saved.videos - saved.there
    show.say(f"{saved.videos} videos in {videos} ({came} downloaded, {saved.there} were there)")
    show.say(f"{videos / MANIFEST} says which belongs to which line")
    if saved.errors:
        for error in saved.errors[:5]:
            show.say(error)
        raise JobFailed(f"{len(saved.errors)} videos could not be downloaded")


@app.command()
def cancel(
    batch_id: BatchId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Cancel the lines that have not ended; what is complete stays."""
    with connected(api_url, api_key) as client:
        batch = client.batches.cancel(_checked(batch_id))
    _show(batch, as_json=as_json)


@app.command()
def retry(
    batch_id: BatchId,
    *,
    include_cancelled: Annotated[
        bool, typer.Option("--include-cancelled", help="Cancelled lines as well.")
    ] = False,
    watched: Watch = False,
    app_id: AppId = None,
    idempotency_key: Key = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit a batch's failed lines again, as a new batch, and print its id."""
    with connected(api_url, api_key) as client:
        batch = client.batches.retry(
            _checked(batch_id),
            include_cancelled=include_cancelled,
            app_id=app_id,
            idempotency_key=idempotency_key,
        )
    _go_on(batch, api_url, api_key, watched=watched, as_json=as_json)


def _defaults(given: list[str]) -> Json:
    """The fields of FIELD=VALUE; raises Refused for another form or an unknown field."""
    pairs, fields = [], known_columns() - {"custom_id"}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign:
            raise Refused(f"--defaults {each!r}: FIELD=VALUE is expected")
        if name.partition(".")[0] not in fields:
            known = ", ".join(sorted(fields))
            raise Refused(f"--defaults {each!r}: {name!r} is no field; fields: {known}")
        pairs.append((name, value))
    return nested(pairs)


def _submitted(
    client: Client, file: str, options: Json, *, app_id: str | None, key: str | None
) -> Batch:
    """The batch; whoever gets no answer is told the key under which to ask again."""
    key = key or f"cli-{uuid4()}"
    with document(file, options) as made:
        try:
            return client.batches.submit(
                made.file, idempotency_key=key, app_id=app_id, **made.options
            )
        except (ConnectionFailed, Unavailable, KeyboardInterrupt):
            show.say(f"It may have been accepted. Ask again with: --idempotency-key {key}")
            raise


def _estimate(
    file: str, options: Json, *, app_id: str | None, url: str | None, key: str | None, as_json: bool
) -> None:
    """Print what the batch would cost; raises Refused if it would be refused for its lines."""
    with connected(url, key) as client, document(file, options) as made:
        estimate = client.batches.estimate(made.file, app_id=app_id, **made.options)
    if as_json:
        show.as_json(estimate.raw)
    else:
        show_errors(estimate.errors, count=estimate.invalid)
        cost = show.money(estimate.estimated_cost_usd)
        show.result(f"{estimate.lines} lines, {estimate.invalid} invalid, estimated at {cost}")
    if estimate.invalid and made.options.get("on_invalid") != "skip":
        raise Refused(f"{estimate.invalid} lines are invalid: the batch would be refused")


def _go_on(batch: Batch, url: str | None, key: str | None, *, watched: bool, as_json: bool) -> None:
    """Print a new batch's id, or watch it."""
    show_errors(batch.errors, count=batch.error_count)
    if watched:
        if not as_json:
            show.say(batch.id)
        _watch_to_end(batch.id, url, key, as_json=as_json)
    elif as_json:
        show.as_json(batch.raw)
    else:
        show.result(batch.id)


def _watch_to_end(batch_id: str, url: str | None, key: str | None, *, as_json: bool) -> None:
    batch = watch(batch_id, url, key)
    _show(batch, as_json=as_json)
    with connected(url, key) as client:
        conclude(client, batch)


def _show(batch: Batch, *, as_json: bool) -> None:
    if as_json:
        show.as_json(batch.raw)
        return
    for name, value in _facts(batch):
        show.out.print(f"[dim]{name:<10}[/]", end="")
        show.out.print(value, markup=False, soft_wrap=True)


def _facts(batch: Batch) -> list[tuple[str, Any]]:
    counts = ", ".join(
        f"{number} {state}"
        for state, number in batch.counts.raw.items()
        if number or state == "total"
    )
    facts = [
        ("id", batch.id),
        ("name", batch.name),
        ("status", batch.status),
        ("lines", counts),
        ("cost", f"{show.money(batch.cost_usd or 0)} (estimate {_usd(batch.estimated_cost_usd)})"),
        ("created", _minute(batch.created_at)),
        ("finished", _minute(batch.finished_at)),
        ("retry of", batch.retry_of),
    ]
    return [(name, Text(str(value))) for name, value in facts if value is not None]


def _minute(at: datetime | None) -> str | None:
    """A time as the other commands show it, in UTC."""
    return f"{at:%Y-%m-%d %H:%M}" if at else None


def _usd(usd: float | None) -> str:
    return show.money(usd or 0)


def _checked(batch_id: str) -> str:
    """The id; raises Refused for one that is a path to something else."""
    if not batch_id.strip("."):
        raise Refused(f"{batch_id!r} is not a batch id (expected batch_…)")
    return batch_id
