"""What an operator asks the database itself: doctor, reconcile, retry-store, prune, reseal."""

import asyncio
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from cli import show
from cli.database import with_engine
from cli.errors import ExitCode, Refused
from cli.options import AsJson
from models.failure import RequestRefused
from models.invariant import Over
from models.revision import SchemaNewer, require_known
from models.vault import VaultError
from tasks.doctor import Examined, examine
from tasks.engine import Engine
from tasks.upkeep.reconcile import Doubtful, doubtful, look_up_again, settle_absent, settle_accepted
from tasks.upkeep.recover import Retried
from tasks.upkeep.recover import retry_store as retry_store_of
from tasks.upkeep.reseal import open_letters
from tasks.upkeep.reseal import reseal as reseal_all
from tasks.upkeep.retention import prune_once
from tasks.verbs.look_up import NEGATIVES

T = TypeVar("T")
PANEL = "Operation"
#: Things after which doctor says how far it is.
_TOLD_EVERY = 100_000
#: Dead letters that reseal names.
_MOST_NAMED = 20

reconcile = typer.Typer(
    help="Attempts that may have cost money unknown to us: list, look up, settle.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(doctor)
    app.command("retry-store", rich_help_panel=PANEL)(retry_store)
    app.command(rich_help_panel=PANEL)(prune)
    app.command(rich_help_panel=PANEL)(reseal)
    app.add_typer(reconcile, name="reconcile", rich_help_panel=PANEL)


def doctor(*, as_json: AsJson = False) -> None:
    """Check every invariant against the live database and say what is wrong, in words.

    Exits 0 when nothing is, 1 otherwise.
    """
    examined = with_engine(_examined)
    for note in examined.notes:
        show.say(note)
    found = examined.violations
    if as_json:
        show.as_json([asdict(violation) for violation in found])
    for violation in () if as_json else found:
        show.result(f"{violation.kind}  {violation.id}\n    {violation.words}")
    if found:
        show.say(f"{len(found)} thing(s) contradict each other.")
        raise typer.Exit(ExitCode.JOB_FAILED)
    show.say("Every invariant holds.")


async def _examined(engine: Engine) -> Examined:
    try:
        await asyncio.to_thread(require_known, engine.settings.require_database())
    except SchemaNewer as newer:
        show.say(f"Not everything may be checked: {newer}.")
    return await examine(engine, progress=_progress)


def _progress(over: Over, number: int) -> None:
    """A line for each so many, of a large database."""
    if number % _TOLD_EVERY == 0:
        show.say(f"{number:,} {over} looked at …")


def retry_store(
    job: Annotated[str, typer.Argument(metavar="JOB", help="As `list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Have the workers bring in a job's missing videos now, also those that it ended without.

    The job stays as it ended, and costs what it cost; `get` shows the videos that came.
    """

    async def work(engine: Engine) -> Retried:
        return await engine.database.run(lambda connection: retry_store_of(connection, job))

    try:
        retried = with_engine(work)
    except RequestRefused as error:
        raise Refused(error.message) from error
    if as_json:
        show.as_json(asdict(retried))
        return
    show.say(
        f"{len(retried.hurried) + len(retried.recovering)} video(s) of {job} are due to be stored, "
        f"{len(retried.recovering)} of them after the job's end."
    )


def prune() -> None:
    """Delete what is older than it is to be kept (LONGTAKE_KEEP_…_DAYS), once, now."""
    show.say(f"deleted: {with_engine(prune_once)}")


def reseal() -> None:
    """Seal every stored secret anew with the newest of LONGTAKE_SECRET_KEYS.

    Afterwards the old keys may be removed from the variable, unless dead letters are named.
    """
    try:
        values, stay = with_engine(_resealed)
    except VaultError as error:
        raise Refused(str(error)) from error
    show.say(f"{values} values are sealed with the newest key.")
    if not stay:
        show.say("Older keys may be removed.")
        return
    named = ", ".join(stay[:_MOST_NAMED]) + (", …" if len(stay) > _MOST_NAMED else "")
    show.say(
        f"{len(stay)} dead letter(s) could not be opened and need the key that their sender sealed "
        f"them with: {named}. Keep the old keys, or add the one that is missing and run this again."
    )


async def _resealed(engine: Engine) -> tuple[int, list[str]]:
    stay = await open_letters(engine)
    return await reseal_all(engine), stay


@reconcile.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List attempts whose answer is unknown or whose operation is lost, and the money at risk."""
    found: list[Doubtful] = with_engine(lambda engine: engine.database.run(doubtful))
    if as_json:
        show.as_json([_as_json(one) for one in found])
        return
    if not found:
        show.say("No attempt is in doubt.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = ("attempt", "kind", "account", "job", "job is", "sent", "at risk", "look-up", "absent")
    for name in heads:
        table.add_column(name, no_wrap=True)
    for one in found:
        look_up = "due" if one.is_looked_up else ", ".join(one.ways) or "none offered"
        sent, risk = f"{one.sent_at:%Y-%m-%d %H:%M}", f"${one.at_risk_micros / 1_000_000:.2f}"
        # So many look-ups that find nothing settle it; before that time none of them counts.
        counted = f"{one.negative_looks} of {NEGATIVES} from {one.absent_after:%H:%M:%S}"
        absent = counted if one.ways else ""
        named = (one.id, one.kind, one.account, one.job, one.job_state)
        table.add_row(*named, sent, risk, look_up, absent)
    show.out.print(table)
    total = sum(one.at_risk_micros for one in found) / 1_000_000
    show.say(f"{len(found)} attempt(s), ${total:.2f} at risk.")


def _as_json(one: Doubtful) -> dict[str, object]:
    times = {"sent_at": one.sent_at.isoformat(), "absent_after": one.absent_after.isoformat()}
    return asdict(one) | times


@reconcile.command("look-up")
def look_up(
    attempts: Annotated[list[str] | None, typer.Argument(help="Unset: every one.")] = None,
) -> None:
    """Have attempts looked up, and lost ones polled, at their providers again, by the workers."""

    async def work(engine: Engine) -> int:
        found = await engine.database.run(doubtful)
        ids = attempts or [one.id for one in found]
        return await engine.database.run(lambda connection: look_up_again(connection, ids))

    show.say(f"{with_engine(work)} attempt(s) are due to be looked up.")


@reconcile.command("settle")
def settle(
    attempt: Annotated[str, typer.Argument(help="As `reconcile list` shows it.")],
    *,
    operation: Annotated[
        str | None, typer.Option(help="The operation id that you found at the provider.")
    ] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="You found that the provider took nothing.")
    ] = False,
) -> None:
    """Settle an attempt by hand: adopt its operation, or state that an unknown one has none."""
    if absent == (operation is not None):
        raise Refused("say either --operation ID or --absent")

    async def work(engine: Engine) -> None:
        if operation is None:
            await settle_absent(engine, attempt)
        else:
            await settle_accepted(engine, attempt, operation)

    try:
        with_engine(work)
    except RequestRefused as error:
        raise Refused(error.message) from error
    show.say(f"{attempt} is settled.")
