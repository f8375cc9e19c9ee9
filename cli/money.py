"""`longtake money`: balances, deposits, budgets and statements, directly in the database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from cli import show
from cli.database import in_transaction
from cli.errors import Refused
from cli.options import AsJson
from models import budgets
from models.budgets import Balance, ListedBudget
from models.database import Connection
from models.dollars import dollars, micros_from
from models.ids import new_id
from models.rows.money import Period, Scope

T = TypeVar("T")

app = typer.Typer(
    help="Balances, deposits, budgets and statements of tenants.", no_args_is_help=True
)
#: A negative amount is refused in words, not as an unknown option.
_AMOUNTS = {"ignore_unknown_options": True}

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="As `keys list` shows it.")]


@app.command()
def balance(
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Unset: every tenant.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what tenants have deposited, reserved, spent and left."""
    found = in_transaction(lambda c: budgets.balances(c, tenant))
    if as_json:
        show.as_json([_balance_json(one) for one in found])
        return
    table = _table("tenant", "pays", "deposited", "reserved", "spent", "available")
    for one in found:
        sums = (one.deposited_micros, one.reserved_micros, one.spent_micros, one.available_micros)
        pays = "before" if one.is_prepaid else "after"
        table.add_row(one.tenant, pays, *map(dollars, sums))
    show.out.print(table)


@app.command(context_settings=_AMOUNTS)
def deposit(
    tenant: Tenant,
    amount: Annotated[str, typer.Argument(metavar="USD", help="US dollars, as in 12.50.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Add to a tenant's balance; its first deposit makes it prepaid.

    Requests of a prepaid tenant are refused (402) when they may cost more than it has left. What it
    owed before the first deposit is taken from that.
    """
    micros, id_ = _micros(amount, "amount"), new_id("dep")

    async def work(connection: Connection) -> Balance:
        await budgets.deposit(connection, tenant, micros, id_=id_)
        (after,) = await budgets.balances(connection, tenant)
        return after

    after = in_transaction(work)
    if as_json:
        show.as_json(_balance_json(after))
    else:
        left = dollars(after.available_micros)
        show.say(f"{dollars(micros)} deposited; tenant {tenant} has {left} available.")


@app.command(context_settings=_AMOUNTS)
def budget(
    tenant: Tenant,
    *,
    key: Annotated[str | None, typer.Option(help="Id of one key; unset: the tenant's.")] = None,
    of_app: Annotated[str | None, typer.Option("--app", help="One X-App-ID.")] = None,
    day: Annotated[str | None, typer.Option(metavar="USD", help="Limit per day (UTC).")] = None,
    month: Annotated[str | None, typer.Option(metavar="USD", help="Limit per month.")] = None,
    total: Annotated[str | None, typer.Option(metavar="USD", help="Limit of all time.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="day|month|total", help="Remove this limit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set or remove limits of what a tenant, a key or an app may spend; without any, list them.

    For example: [cyan]longtake money budget acme --app shop --day 25[/]
    """
    scope, subject = _whose(tenant, key, of_app)
    given = {Period.DAY: day, Period.MONTH: month, Period.TOTAL: total}
    limits = {
        period: _micros(text, str(period)) for period, text in given.items() if text is not None
    }
    removed = _periods(remove or [])

    async def work(connection: Connection) -> list[ListedBudget]:
        for period in removed:
            if not await budgets.remove_budget(
                connection, tenant, scope=scope, subject=subject, period=period
            ):
                raise Refused(f"{scope} {subject} has no {period} budget")
        for period, micros in limits.items():
            await budgets.set_budget(
                connection,
                tenant,
                scope=scope,
                subject=subject,
                period=period,
                limit_micros=micros,
            )
        return await budgets.list_budgets(connection, tenant)

    _show_budgets(in_transaction(work), as_json=as_json)


@app.command()
def statement(
    tenant: Tenant,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only entries from this day on (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Newest entries shown.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the ledger's entries of a tenant, oldest first."""
    start = _date(since)
    found = in_transaction(lambda c: budgets.statement(c, tenant, since=start, limit=limit))
    if as_json:
        show.as_json([asdict(one) | {"at": one.at.isoformat()} for one in found])
        return
    table = _table("at", "entry", "account", "amount")
    for one in found:
        at = f"{one.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(at, one.entry_set, one.account, dollars(one.amount_micros))
    show.out.print(table)
    if len(found) == limit:
        show.say(f"The newest {limit} entries; --limit shows more.")


def _whose(tenant: str, key: str | None, of_app: str | None) -> tuple[Scope, str]:
    if key is not None and of_app is not None:
        raise Refused("say either --key or --app: a budget is of one key or of one app")
    for name, value in (("--key", key), ("--app", of_app)):
        if value is not None and not (1 <= len(value) <= 255 and value.isprintable()):  # noqa: PLR2004 - as X-App-ID
            raise Refused(f"{name} must be 1 to 255 printable characters (it has {len(value)})")
    if key is not None:
        return Scope.KEY, key
    return (Scope.APP, of_app) if of_app is not None else (Scope.TENANT, tenant)


def _periods(names: Sequence[str]) -> list[Period]:
    allowed = (Period.DAY, Period.MONTH, Period.TOTAL)
    for name in names:
        if name not in allowed:
            raise Refused(f"--remove must be one of {', '.join(allowed)} (it is {name[:64]!r})")
    return [Period(name) for name in dict.fromkeys(names)]


def _micros(text: str, name: str) -> int:
    try:
        return micros_from(text, name=name)
    except ValueError as error:
        raise Refused(str(error)) from error


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise Refused(f"--since must be a date as in 2026-01-31 (it is {text[:64]!r})") from error


def _show_budgets(found: Sequence[ListedBudget], *, as_json: bool) -> None:
    if as_json:
        show.as_json([_budget_json(one) for one in found])
        return
    if not found:
        show.say("No budget is set.")
        return
    table = _table("of", "period", "limit", "reserved", "spent", "resets")
    for one in found:
        sums = (one.limit_micros, one.reserved_micros, one.spent_micros)
        resets = f"{one.resets_at:%Y-%m-%d %H:%M}" if one.resets_at else "never"
        subject = Text(f"{one.scope} {one.subject}")  # an app is a caller's text: no markup
        table.add_row(subject, one.period, *map(dollars, sums), resets)
    show.out.print(table)


def _balance_json(one: Balance) -> dict[str, object]:
    return asdict(one) | {"available_micros": one.available_micros}


def _budget_json(one: ListedBudget) -> dict[str, object]:
    return asdict(one) | {"resets_at": one.resets_at and one.resets_at.isoformat()}


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
