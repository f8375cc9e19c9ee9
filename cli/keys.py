"""`longtake keys`: manages API keys, directly in the database."""

from dataclasses import asdict
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from cli import show
from cli.database import in_transaction
from cli.errors import Refused
from cli.options import AsJson
from models.budgets import make_prepaid
from models.database import Connection
from models.failure import RequestRefused
from models.keys import ListedKey, create_key, list_keys, revoke_key
from models.limits import set_limits
from models.rows.limits import Holder
from models.tiers import tiers

T = TypeVar("T")

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    *,
    tenant: Annotated[str, typer.Option(help="Tenant of the key; created if new.")],
    admin: Annotated[bool, typer.Option("--admin", help="Grant operator rights.")] = False,
    prepaid: Annotated[
        bool, typer.Option("--prepaid", help="The tenant spends only what `money deposit` added.")
    ] = False,
    tier: Annotated[
        str | None,
        typer.Option(help=f"Limits of the key: {', '.join(tiers())}; default: none."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key; it is shown once and stored only as a hash.

    For example: [cyan]longtake keys create --tenant acme[/]
    """

    async def work(connection: Connection) -> tuple[str, str]:
        key_id, plain = await create_key(connection, tenant, is_admin=admin)
        if prepaid:
            await make_prepaid(connection, tenant)
        if tier is not None:
            await set_limits(connection, Holder.KEY, key_id, tier=tier)
        return key_id, plain

    try:
        key_id, plain = in_transaction(work)
    except (ValueError, RequestRefused) as error:
        raise Refused(str(error)) from error
    if as_json:
        made = {"id": key_id, "key": plain, "tenant": tenant, "admin": admin, "tier": tier}
        show.as_json(made)
    else:
        show.result(plain)
        show.say(f"{key_id}, tenant {tenant}: store it now, it cannot be shown again.")


@app.command("list")
def list_(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List keys, without their secrets."""
    found = in_transaction(lambda c: list_keys(c, tenant))
    if as_json:
        show.as_json([_json(key) for key in found])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "tenant", "begins", "created", "revoked"):
        table.add_column(name, no_wrap=True)
    for key in found:
        tenant_or_admin = f"{key.tenant} (admin)" if key.is_admin else key.tenant
        revoked = f"{key.revoked_at:%Y-%m-%d}" if key.revoked_at else ""
        table.add_row(key.id, tenant_or_admin, key.prefix, f"{key.created_at:%Y-%m-%d}", revoked)
    show.out.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Key id, as shown by `keys list`.")]) -> None:
    """Revoke a key; running servers notice within seconds."""
    if not in_transaction(lambda c: revoke_key(c, key_id)):
        raise Refused(f"no active key {key_id}: unknown or already revoked")
    show.say(f"{key_id} is revoked.")


def _json(key: ListedKey) -> dict[str, object]:
    times = {"created_at": key.created_at, "revoked_at": key.revoked_at}
    return asdict(key) | {name: at and at.isoformat() for name, at in times.items()}
