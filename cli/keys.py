"""`longtake keys`: manages API keys, directly in the database."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from cli import show
from cli.database import in_transaction
from cli.durations import read_seconds
from cli.errors import Refused
from cli.options import AsJson
from models.budgets import make_prepaid
from models.database import Connection
from models.failure import RequestRefused
from models.keys import LONGEST_LIFE, ListedKey, create_key, list_keys, revoke_key
from models.limits import set_limits
from models.rows.limits import Holder
from models.tiers import tiers

T = TypeVar("T")

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    *,
    tenant: Annotated[str, typer.Option(help="Tenant of the key; created if new.")],
    admin: Annotated[
        bool,
        typer.Option("--admin", help="Reads all tenants, and lanes and accounts of providers."),
    ] = False,
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long it is valid: 90d, 12h; default: for ever."),
    ] = None,
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

    For example: [cyan]longtake keys create --tenant acme --expires 90d[/]
    """
    lives = None if expires is None else read_seconds(expires, "--expires", most=LONGEST_LIFE)

    async def work(connection: Connection) -> tuple[str, str]:
        key_id, plain = await create_key(connection, tenant, is_admin=admin, lives=lives)
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
        show.as_json(made | {"expires_in_seconds": lives})
    else:
        show.result(plain)
        until = "" if lives is None else f", valid for {expires}"
        show.say(f"{key_id}, tenant {tenant}{until}: store it now, it cannot be shown again.")


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
    for name in ("id", "tenant", "admin", "begins", "created", "last used", "expires", "revoked"):
        table.add_column(name, no_wrap=True)
    for key in found:
        table.add_row(
            key.id,
            key.tenant,
            "yes" if key.is_admin else "",
            key.prefix,
            _day(key.created_at),
            f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never",
            _expiry(key.expires_at),
            _day(key.revoked_at),
        )
    show.out.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Key id, as shown by `keys list`.")]) -> None:
    """Revoke a key; running servers notice within seconds."""
    if not in_transaction(lambda c: revoke_key(c, key_id)):
        raise Refused(f"no active key {key_id}: unknown or already revoked")
    show.say(f"{key_id} is revoked.")


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else ""


def _expiry(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    return f"{'expired ' * (moment <= datetime.now(UTC))}{_day(moment)}"


def _json(key: ListedKey) -> dict[str, object]:
    values = asdict(key)
    times = ("created_at", "last_used_at", "expires_at", "revoked_at")
    return values | {name: values[name] and values[name].isoformat() for name in times}
