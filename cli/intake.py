"""`longtake intake`: requests that came over the broker and could not be accepted, and why."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli import show
from cli.options import AsJson
from models.database import Database
from models.intake_failures import ListedFailure, list_intake_failures
from settings import load

app = typer.Typer(
    help="Requests sent over the broker that could not be accepted.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Makes `list` a command of the group, though it is the only one."""


@app.command("list")
def list_(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="As many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List them, the newest first: whose, which message, which field, and why."""
    found = asyncio.run(_found(tenant, most))
    if as_json:
        show.as_json([asdict(one) | {"at": one.at.isoformat()} for one in found])
        return
    if not found:
        show.say("Every request that came over the broker was accepted.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when", "tenant", "task", "code", "field", "reason"):
        table.add_column(name, no_wrap=name != "reason")
    for one in found:
        when, field = f"{one.at:%Y-%m-%d %H:%M}", one.param or ""
        words = Text(one.message)  # a sender's words may look like markup
        table.add_row(when, one.tenant or "", one.task_id, one.code, Text(field), words)
    show.out.print(table)


async def _found(tenant: str | None, most: int) -> list[ListedFailure]:
    database = Database(load().require_database(), connections=2, timeout=2)
    try:
        return await database.run(lambda c: list_intake_failures(c, tenant=tenant, most=most))
    finally:
        await database.close()
