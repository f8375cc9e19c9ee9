"""`longtake providers`: the accounts at providers, their pauses and caps, in the database."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from catalog.models import Catalog
from cli import show
from cli.api import Json
from cli.database import in_transaction
from cli.durations import read_seconds
from cli.errors import Refused
from cli.options import AsJson
from models import accounts as rules
from models.accounts import Listed
from models.database import Connection
from models.dollars import dollars, micros_from
from models.rows.accounts import CapPeriod
from models.waking import wake
from providers.registry import PLAIN, provider_of
from settings import load
from tasks.accounts import LONGEST_PAUSE, LONGEST_REASON, find_account, find_target, known

app = typer.Typer(
    help="Accounts at providers: list, pause and resume them, cap what they spend.",
    no_args_is_help=True,
)
#: A negative amount is refused in words, not as an unknown option.
_AMOUNTS = {"ignore_unknown_options": True}

Account = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="As `providers list` shows it: runway, runway:team")
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="ACCOUNT|PROVIDER",
        help=f"runway:team, or runway for all its accounts, or runway:{PLAIN} for the one without "
        "a name.",
    ),
]


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List accounts: their weights, pauses, caps, what they spent and have to do.

    What they spent is of the cap's period, and of this month without a cap.
    """
    catalog = Catalog.load(load())
    found = in_transaction(_listed)
    if as_json:
        show.as_json([_json(one, catalog.weight(one.name)) for one in found])
        return
    if not found:
        show.say("No account has credentials here, and none has jobs.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("account", "provider", "weight", "cap", "spent", "unfinished", "waiting"):
        table.add_column(name, no_wrap=True)
    table.add_column("paused", overflow="fold")
    for one in found:
        cap = "none" if one.cap_micros is None else f"{dollars(one.cap_micros)} {one.cap_period}"
        table.add_row(
            one.name,
            provider_of(one.name),
            f"{catalog.weight(one.name):g}",
            cap,
            dollars(one.spent_micros),
            str(one.unfinished),
            str(one.waiting),
            Text(_pause_in_words(one)),  # a vendor's words are no markup
        )
    show.out.print(table)


@app.command()
def pause(
    target: Target,
    *,
    seconds: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="90, 90s, 15m, 2h or 1d; unset: until resumed."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Shown to operators.")] = None,
) -> None:
    """Send nothing new by an account, or by all of a provider.

    What was sent goes on: it is polled, cancelled and stored. Jobs that wait move on to their
    gate's next model or to another account of the provider, or wait until their deadline.

    For example: [cyan]longtake providers pause runway --for 2h --reason "vendor is down"[/]
    """
    lasts = None if seconds is None else read_seconds(seconds, "--for", most=LONGEST_PAUSE)
    if reason is not None and not (1 <= len(reason) <= LONGEST_REASON and reason.isprintable()):
        raise Refused(
            f"--reason must be 1 to {LONGEST_REASON} printable characters (it has {len(reason)})"
        )

    async def work(connection: Connection) -> None:
        name, whole = await _target(connection, target)
        await rules.pause(connection, name, whole=whole, seconds=lasts, reason=reason)

    in_transaction(work)
    show.say(f"{target} is paused{'' if lasts is None else f' for {lasts} s'}.")


@app.command()
def resume(target: Target) -> None:
    """End the pause of an account, or of a provider and all its accounts, also by the provider."""

    async def work(connection: Connection) -> str:
        name, whole = await _target(connection, target)
        ended = await rules.resume(connection, name, whole=whole)
        if not whole and await rules.is_whole_paused(connection, provider_of(name)):
            provider = provider_of(name)
            raise Refused(f"all of {provider} is paused: `longtake providers resume {provider}`")
        if not ended:
            raise Refused(f"{target} is not paused")
        return name

    in_transaction(work, then=wake)
    show.say(f"{target} takes new jobs again.")


@app.command(context_settings=_AMOUNTS)
def cap(
    account: Account,
    amount: Annotated[
        str | None, typer.Argument(metavar="[USD]", help="US dollars, as in 250 or 12.50.")
    ] = None,
    *,
    per: Annotated[
        str | None, typer.Option(metavar="day|month|total", help="Period of the cap, in UTC.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Remove the cap.")] = False,
) -> None:
    """Limit what an account may spend: nothing is sent that could take it past its cap.

    For example: [cyan]longtake providers cap runway:team 250 --per month[/]
    """
    if none:
        if amount is not None or per is not None:
            raise Refused("give an amount with --per, or --none, not both")
        _remove_cap(account)
        return
    if amount is None or per is None:
        raise Refused("give an amount and --per day, month or total; or --none to remove the cap")
    if per not in list(CapPeriod):
        raise Refused(f"--per must be one of {', '.join(CapPeriod)} (it is {per[:64]!r})")
    try:
        micros = micros_from(amount, name="the cap")
    except ValueError as error:
        raise Refused(str(error)) from error

    async def work(connection: Connection) -> str:
        name = await _account(connection, account)
        await rules.set_cap(connection, name, micros=micros, period=CapPeriod(per))
        return name

    in_transaction(work, then=wake)
    show.say(f"{account} may spend {dollars(micros)} ({per}).")


def _remove_cap(account: str) -> None:
    async def work(connection: Connection) -> str:
        name = await _account(connection, account)
        if not await rules.remove_cap(connection, name):
            raise Refused(f"{account} has no cap")
        return name

    in_transaction(work, then=wake)
    show.say(f"{account} has no cap any longer.")


async def _listed(connection: Connection) -> list[Listed]:
    return await rules.list_accounts(connection, await known(connection, load()))


async def _target(connection: Connection, given: str) -> tuple[str, bool]:
    """The account or provider that is meant, and whether it is a whole provider."""
    return await find_target(connection, given, load())


async def _account(connection: Connection, given: str) -> str:
    return find_account(given, await known(connection, load()))


def _pause_in_words(one: Listed) -> str:
    if one.paused_at is None and one.blocked_at is not None:
        probe = f"; next probe {one.probe_at:%H:%M} UTC" if one.probe_at else ""
        return (
            f"since {one.blocked_at:%Y-%m-%d %H:%M} by its provider ({one.block_code}): "
            f"{one.block_reason}{probe}"
        )
    if one.paused_at is None:
        return "no"
    until = f" until {one.paused_until:%Y-%m-%d %H:%M}" if one.paused_until else ""
    reason = f": {one.pause_reason}" if one.pause_reason else ""
    return f"since {one.paused_at:%Y-%m-%d %H:%M}{until}{reason}"


def _json(one: Listed, weight: float) -> Json:
    times = {
        name: moment and moment.isoformat()
        for name, moment in (
            ("paused_at", one.paused_at),
            ("paused_until", one.paused_until),
            ("blocked_at", one.blocked_at),
            ("probe_at", one.probe_at),
        )
    }
    return asdict(one) | times | {"provider": provider_of(one.name), "weight": weight}
