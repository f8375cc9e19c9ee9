"""`longtake lanes`: what is due and in flight by queue and lane, and what holds it back."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli import show
from cli.database import with_engine
from cli.options import AsJson
from tasks.lanes import MOST_NAMED, NAMED, LaneState, Stop, lane_view, read_lanes

_PANEL = "Operation"


def register(app: typer.Typer) -> None:
    app.command("lanes", rich_help_panel=_PANEL)(lanes)


def lanes(
    *,
    limit: Annotated[
        int,
        typer.Option(min=1, max=MOST_NAMED, help="Receivers, and tenants, that are named."),
    ] = NAMED,
    as_json: AsJson = False,
) -> None:
    """What is due and in flight in every lane, how old it is, and what holds it back.

    Of receivers' hosts and of tenants with pictures to fetch the oldest are named; `*` is the sum
    of the others.
    """
    found = with_engine(lambda engine: read_lanes(engine, named=limit))
    if as_json:
        show.as_json([lane_view(each) for each in found])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("queue", "work", "lane"):
        table.add_column(name, no_wrap=True)
    for name in ("lanes", "due", "oldest", "in flight", "pace"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("paused", overflow="fold")
    for each in found:
        table.add_row(*_cells(each), style="" if each.due or each.in_flight else "dim")
    show.out.print(table)


def _cells(each: LaneState) -> tuple[Text, ...]:
    """Hosts and reasons are others' text: no markup."""
    oldest = f"{each.oldest_seconds:,.1f} s" if each.due else "-"
    values = (each.queue, each.what, each.lane, each.lanes, each.due, oldest, each.in_flight)
    paused = _in_words(each.paused) if each.paused else "no"
    return tuple(Text(str(value)) for value in (*values, f"{each.pace:.0%}", paused))


def _in_words(stop: Stop) -> str:
    lasts = "" if stop.seconds is None else f", for {stop.seconds:,.0f} s more"
    return f"{stop.code}: {stop.reason}{lasts}"
