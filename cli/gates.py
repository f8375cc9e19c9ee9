"""`longtake gates`: a tenant's gates, which choose the models of its requests."""

from typing import Annotated

import typer
from rich.table import Table

from cli import show
from cli.api import Json
from cli.options import ApiKey, ApiUrl, AsJson, connect

app = typer.Typer(
    help="Create, list and delete gates, which choose among models.", no_args_is_help=True
)

GateName = Annotated[str, typer.Argument(metavar="GATE", help="A gate's id or name.")]


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of gates.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only gates older than this one.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List gates, newest first."""
    with connect(api_url, api_key) as api:
        page = api.gates(limit=limit, after=after)
    if as_json:
        show.as_json(page)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "name", "strategy", "models", "overrides", "limit"):
        table.add_column(name, overflow="fold")
    for gate in page["data"]:
        table.add_row(gate["id"], gate["name"], gate["strategy"], *_words(gate))
    show.out.print(table)
    if page["has_more"]:
        show.say(f"More: --after {page['next']}")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name that requests use.")],
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="The first model.")],
    strategy: Annotated[
        str | None,
        typer.Option(help="single, fallback or round-robin; default: fallback with --fallback."),
    ] = None,
    fallback: Annotated[
        list[str] | None, typer.Option("--fallback", "-f", help="The next model; repeatable.")
    ] = None,
    overrides: Annotated[
        str, typer.Option(help="What requests may set: all, none, or fields, with commas.")
    ] = "all",
    spending_limit: Annotated[
        float | None, typer.Option(help="What its jobs may cost together, in US dollars.")
    ] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a gate and print its id.

    For example: [cyan]longtake gates create shop -m runway-gen3 -f veo-3[/]
    """
    body: Json = {
        "name": name,
        "model": model,
        "strategy": strategy or ("fallback" if fallback else "single"),
        "fallback_models": fallback or [],
        "overrides": overrides if overrides in {"all", "none"} else overrides.split(","),
        "spending_limit_usd": spending_limit,
    }
    with connect(api_url, api_key) as api:
        gate = api.create_gate(body)
    if as_json:
        show.as_json(gate)
    else:
        show.result(gate["id"])


@app.command("show")
def show_(
    gate: GateName, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Show a gate."""
    with connect(api_url, api_key) as api:
        found = api.gate(gate)
    if as_json:
        show.as_json(found)
        return
    models, overrides, limit = _words(found)
    for name, value in (
        *((each, found[each]) for each in ("id", "name", "strategy")),
        *(("models", models), ("overrides", overrides), ("limit", limit)),
    ):
        show.result(f"{name:<11}{value}")


@app.command()
def delete(gate: GateName, *, api_url: ApiUrl = None, api_key: ApiKey = None) -> None:
    """Delete a gate; its jobs go on."""
    with connect(api_url, api_key) as api:
        gone = api.delete_gate(gate)
    show.say(f"{gone['id']} is deleted.")


def _words(gate: Json) -> tuple[str, str, str]:
    """A gate's models, overrides and limit."""
    overrides, limit = gate["overrides"], gate["spending_limit_usd"]
    return (
        ", ".join([gate["model"], *gate["fallback_models"]]),
        overrides if isinstance(overrides, str) else ", ".join(overrides),
        "none" if limit is None else show.money(limit),
    )
