"""Use cases of provider accounts: what operators see of them, pause and resume, caps."""

from collections.abc import Collection
from typing import Final, Literal

from models import accounts as rules
from models.accounts import Listed
from models.database import Connection
from models.failure import RequestRefused
from models.rows.accounts import CapPeriod
from models.waking import wake
from providers.registry import PLAIN, PROVIDERS, accounts, provider_of
from settings import Settings
from tasks.engine import Engine

#: The periods of a cap, in UTC; `total`: all time.
Period = Literal["day", "month", "total"]
#: The longest pause that ends by itself, in seconds.
LONGEST_PAUSE: Final = 365 * 86_400
#: Maximum characters of a pause's reason.
LONGEST_REASON: Final = 500


async def list_accounts(engine: Engine) -> list[Listed]:
    """All known accounts with their pauses, caps and use, in the order of their names."""

    async def work(connection: Connection) -> list[Listed]:
        return await rules.list_accounts(connection, await known(connection, engine.settings))

    return await engine.database.run(work)


async def pause(
    engine: Engine, target: str, *, seconds: int | None, reason: str | None
) -> list[Listed]:
    """Stop new submits of an account, or of all of a provider; the accounts as they are now.

    Raises:
        RequestRefused: there is no such account.
    """

    async def work(connection: Connection) -> list[Listed]:
        name, whole = await find_target(connection, target, engine.settings)
        await rules.pause(connection, name, whole=whole, seconds=seconds, reason=reason)
        return await _meant(connection, engine.settings, name, whole=whole)

    return await engine.database.run(work)


async def resume(engine: Engine, target: str) -> list[Listed]:
    """End the pauses and blocks of an account, or of a provider's; the accounts as they are now.

    One that is not paused is unchanged.

    Raises:
        RequestRefused: there is no such account; or `conflict`: its whole provider is paused.
    """

    async def work(connection: Connection) -> list[Listed]:
        name, whole = await find_target(connection, target, engine.settings)
        await rules.resume(connection, name, whole=whole)
        if not whole and await rules.is_whole_paused(connection, provider_of(name)):
            msg = f"all of {provider_of(name)} is paused: resume {provider_of(name)}"
            raise RequestRefused(msg, type="conflict", code="provider_paused")
        return await _meant(connection, engine.settings, name, whole=whole)

    ended = await engine.database.run(work)
    await wake(engine.database, target)
    return ended


async def set_cap(engine: Engine, target: str, *, micros: int, period: Period) -> list[Listed]:
    """Set an account's cap, in millionths of a US dollar; returns the account.

    Raises:
        RequestRefused: there is no such account.
    """

    async def work(connection: Connection) -> list[Listed]:
        name = find_account(target, await known(connection, engine.settings))
        await rules.set_cap(connection, name, micros=micros, period=CapPeriod(period))
        return await rules.list_accounts(connection, [name])

    found = await engine.database.run(work)
    await wake(engine.database, found[0].name)
    return found


async def remove_cap(engine: Engine, target: str) -> list[Listed]:
    """Remove an account's cap; returns the account, unchanged if it had none.

    Raises:
        RequestRefused: there is no such account.
    """

    async def work(connection: Connection) -> list[Listed]:
        name = find_account(target, await known(connection, engine.settings))
        await rules.remove_cap(connection, name)
        return await rules.list_accounts(connection, [name])

    found = await engine.database.run(work)
    await wake(engine.database, found[0].name)
    return found


async def known(connection: Connection, settings: Settings) -> list[str]:
    """The accounts that have credentials here, attempts or rules."""
    return sorted({*accounts(settings), *await rules.known_accounts(connection)})


async def find_target(connection: Connection, given: str, settings: Settings) -> tuple[str, bool]:
    """The account or provider that is meant, and whether it is a whole provider.

    Raises:
        RequestRefused: `not_found`; the message names the known accounts.
    """
    if given in PROVIDERS:
        return given, True
    return find_account(given, await known(connection, settings)), False


def find_account(given: str, among: Collection[str]) -> str:
    """The account that is meant; raises RequestRefused (`not_found`)."""
    name = given.removesuffix(f":{PLAIN}")
    if name not in among:
        listed = ", ".join(among) or "none: no credentials are set here"
        msg = f"there is no account {given[:64]!r}; the known ones are {listed}"
        raise RequestRefused(msg, type="not_found", param="account")
    return name


async def _meant(
    connection: Connection, settings: Settings, name: str, *, whole: bool
) -> list[Listed]:
    names = await known(connection, settings)
    meant = [each for each in names if provider_of(each) == name] if whole else [name]
    return await rules.list_accounts(connection, meant)
