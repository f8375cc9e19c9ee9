"""`longtake limits`: what tenants and keys may submit, directly in the database."""

from typing import Annotated, TypeVar

import typer
from rich.table import Table

from cli import show
from cli.api import Json
from cli.database import in_transaction
from cli.errors import Refused
from cli.options import AsJson
from models.limits import MOST, Used, read_limits, set_limits
from models.rows.limits import Holder
from models.tiers import tiers

T = TypeVar("T")

app = typer.Typer(help="Limits of tenants and API keys.", no_args_is_help=True)

Tenant = Annotated[str | None, typer.Option(metavar="TENANT", help="The tenant's, over all keys.")]
KeyId = Annotated[
    str | None, typer.Option("--key", metavar="ID", help="This key's; as `keys list` shows it.")
]
Number = Annotated[str | None, typer.Option(metavar="N|none")]


@app.command("show")
def show_(*, tenant: Tenant = None, key: KeyId = None, as_json: AsJson = False) -> None:
    """Show limits and what is used of them; without an option, all that are set."""
    if tenant is not None and key is not None:
        raise Refused("give --tenant or --key, not both")
    if tenant is None and key is None:
        found = in_transaction(read_limits)
    else:
        holder, id_ = _holder(tenant, key)
        found = in_transaction(lambda connection: read_limits(connection, holder, id_))
    if as_json:
        show.as_json([_json(each) for each in found])
        return
    if not found:
        show.say("No limits are set.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("whose", "tier", "at a time", "per minute", "per day (UTC)"):
        table.add_column(name, no_wrap=True)
    for each in found:
        row = each.row
        table.add_row(
            f"{row.holder} {row.id}",
            row.tier or "",
            _share(each.unfinished, row.concurrent),
            _share(each.minute_used, row.per_minute),
            _share(each.day_used, row.per_day),
        )
    show.out.print(table)


@app.command("set")
def set_(
    *,
    tenant: Tenant = None,
    key: KeyId = None,
    tier: Annotated[
        str | None, typer.Option(help=f"Copy a tier's limits: {', '.join(tiers())}.")
    ] = None,
    concurrent: Number = None,
    per_minute: Number = None,
    per_day: Number = None,
) -> None:
    """Set limits of a tenant or a key; those that are not named stay.

    --concurrent counts unfinished jobs, the others accepted ones; none removes a limit.

    For example: [cyan]longtake limits set --tenant acme --tier pro --per-minute 60[/]
    """
    given = {"concurrent": concurrent, "per_minute": per_minute, "per_day": per_day}
    changes = {name: _number(name, text) for name, text in given.items() if text is not None}
    holder, id_ = _holder(tenant, key)
    in_transaction(lambda c: set_limits(c, holder, id_, tier=tier, changes=changes))
    show_(tenant=tenant, key=key)


def _holder(tenant: str | None, key: str | None) -> tuple[Holder, str]:
    if tenant is not None and key is None:
        return Holder.TENANT, tenant
    if key is not None and tenant is None:
        return Holder.KEY, key
    raise Refused("give --tenant or --key, and not both")


def _number(name: str, text: str) -> int | None:
    if text == "none":
        return None
    if text.isascii() and text.isdecimal() and 1 <= int(text[:20]) <= MOST:
        return int(text)
    option = name.replace("_", "-")
    raise Refused(
        f"--{option} must be a whole number from 1 to {MOST}, or none (it is {text[:64]})"
    )


def _share(used: int, limit: int | None) -> str:
    return "no limit" if limit is None else f"{used} of {limit}"


def _json(each: Used) -> Json:
    row = each.row
    limits = {
        "concurrent": (row.concurrent, each.unfinished),
        "per_minute": (row.per_minute, each.minute_used),
        "per_day": (row.per_day, each.day_used),
    }
    shown = {
        name: None if limit is None else {"limit": limit, "used": used}
        for name, (limit, used) in limits.items()
    }
    return {"holder": row.holder, "id": row.id, "tier": row.tier} | shown
