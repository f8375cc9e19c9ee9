"""`longtake models`: the models on offer and their prices."""

import typer
from rich.table import Table
from rich.text import Text

from catalog.ranges import as_ranges
from cli import show
from cli.api import Json
from cli.options import ApiKey, ApiUrl, AsJson, connect


def register(app: typer.Typer) -> None:
    app.command("models", rich_help_panel="Jobs")(models)


def models(*, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the models with their limits, price per second and availability."""
    with connect(api_url, api_key) as api:
        found = api.models()
    if as_json:
        show.as_json(found)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "available", "seconds", "resolutions", "price per second", "aliases"):
        table.add_column(name, overflow="fold")
    for model in found:
        table.add_row(*_row(model))
    show.out.print(table)


def _row(model: Json) -> tuple[Text | str, ...]:
    limits = model["limits"]
    prices = model["price"]["per_second"].values()
    return (
        Text(model["id"], style="bold"),
        _availability(model),
        as_ranges(limits["durations"]),
        ", ".join(limits["resolutions"]),
        " to ".join(f"${price:g}" for price in sorted({min(prices), max(prices)})),
        ", ".join(model["aliases"]),
    )


def _availability(model: Json) -> Text:
    """Whether it can be asked for, or why not."""
    paused, retired = model.get("paused"), model.get("retired")
    if retired:
        use = f": use {' or '.join(retired['use'])}" if retired["use"] else ""
        return Text(f"retired {retired['on']}{use}", style="yellow")
    if not model["available"]:
        return Text(f"set {model['set_to_use']}", style="yellow")
    if paused:
        return Text(f"waits: {paused['code']}", style="yellow")
    return Text("yes", style="green")
