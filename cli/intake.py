"""`longtake intake`: requests from the broker that were rejected, and why."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli import show
from cli.database import in_transaction
from cli.options import AsJson
from models.intake_failures import list_intake_failures

app = typer.Typer(help="Requests from the broker that were rejected.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make `list` a subcommand: Typer would run a group's only command without its name."""


@app.command("list")
def list_(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's requests.")] = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of requests.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List rejected requests, newest first, with tenant, task, field and reason."""
    found = in_transaction(lambda c: list_intake_failures(c, tenant=tenant, most=most))
    if as_json:
        show.as_json([asdict(one) | {"at": one.at.isoformat()} for one in found])
        return
    if not found:
        show.say("No request from the broker was rejected.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when", "tenant", "task", "code", "field", "reason"):
        table.add_column(name, no_wrap=name != "reason")
    for one in found:
        when, field = f"{one.at:%Y-%m-%d %H:%M}", one.param or ""
        reason = Text(one.message)  # a sender's text may look like markup
        table.add_row(when, one.tenant or "", one.task_id, one.code, Text(field), reason)
    show.out.print(table)
