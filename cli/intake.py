"""`longtake intake`: requests from the broker that were rejected, why, and a second try."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli import show
from cli.database import in_transaction, with_engine
from cli.errors import Refused
from cli.options import AsJson
from models.failure import RequestRefused
from models.intake_failures import ListedFailure, list_intake_failures
from models.sealing import public_key
from tasks import letters
from tasks.engine import Engine

app = typer.Typer(help="Requests from the broker that were rejected.", no_args_is_help=True)

#: Dead letters that one `retry --all` takes, oldest first.
_MOST = 10_000


@app.command("list")
def list_(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's requests.")] = None,
    most: Annotated[int, typer.Option(min=1, max=_MOST, help="Maximum number of requests.")] = 100,
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
    for name in ("id", "when", "tenant", "job or batch", "code", "field", "line", "reason"):
        table.add_column(name, no_wrap=name != "reason")
    for one in found:
        table.add_row(
            *(one.id, f"{one.at:%Y-%m-%d %H:%M}", one.tenant or "", one.job or one.batch or ""),
            *(one.code, Text(one.param or ""), str(one.line or "")),
            Text(one.message),  # a sender's text may look like markup
        )
    show.out.print(table)


@app.command()
def retry(
    letter: Annotated[str | None, typer.Argument(metavar="ID", help="A dead letter's id.")] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Retry all, oldest first.")] = False,
    tenant: Annotated[str | None, typer.Option(help="With --all: only this tenant's.")] = None,
) -> None:
    """Take rejected requests in once more; those that are accepted leave the list.

    For example: [cyan]longtake intake retry --all --tenant acme[/]
    """
    if (letter is None) != all_:
        raise Refused("name one dead letter by its id, or give --all")
    if tenant is not None and not all_:
        raise Refused("--tenant goes with --all")
    if letter is not None:
        made = with_engine(lambda engine: _retried(engine, letter))
        if isinstance(made, RequestRefused):
            raise Refused(made.message)
        show.result(made.id)
        return
    found = in_transaction(lambda c: list_intake_failures(c, tenant=tenant, most=_MOST))
    refused = with_engine(lambda engine: _retry_all(engine, found[::-1]))
    show.say(f"{len(found) - refused} accepted, {refused} refused again.")
    if refused:
        raise typer.Exit(1)


@app.command()
def key() -> None:
    """Print the public key with which senders seal their messages.

    For example: [cyan]LONGTAKE_SEALING_KEY=$(longtake intake key)[/]
    """
    show.result(with_engine(_public_key))


async def _public_key(engine: Engine) -> str:
    return public_key(engine.vault)


async def _retry_all(engine: Engine, found: list[ListedFailure]) -> int:
    """Retry each, and print what became of it; returns how many were refused again."""
    refused = 0
    for one in found:
        made = await _retried(engine, one.id)
        if isinstance(made, RequestRefused):
            refused += 1
            show.say(f"{one.id}  {made.message}")
        else:
            show.result(made.id)
    return refused


async def _retried(engine: Engine, letter: str) -> letters.Made | RequestRefused:
    # No hint is sent: the next tick finds the work.
    try:
        return await letters.retry(engine, letter, tenant=None)
    except RequestRefused as refusal:
        return refusal
