"""`longtake restore`: what a restored database may have forgotten that it paid for."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from cli import show
from cli.database import with_engine
from cli.errors import ExitCode, NotReached, Refused
from cli.options import AsJson
from models import high_water
from models.failure import RequestRefused
from storage.base import StorageError
from tasks.engine import Engine
from tasks.restore import parked as parking
from tasks.restore.clearing import accept_database, tend
from tasks.restore.parked import Parked

T = TypeVar("T")

app = typer.Typer(
    help="After a restore: attempts that may have been paid for since the backup, and what to do.",
    no_args_is_help=True,
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
Attempts = Annotated[list[str] | None, typer.Argument(help="As `restore list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="Every parked attempt.")]


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Compare the database with its mark, now, and say what a restore has parked.

    Exits 0 when nothing is parked, 1 otherwise.
    """
    outcome, row, found = with_engine(_compared)
    risk = sum(one.at_risk_micros for one in found)
    if as_json:
        show.as_json(_facts(outcome, row, found))
    elif row.restored_at is None:
        show.say(f"The database is not behind its mark (generation {row.generation}).")
    else:
        seen = row.ahead or {}
        show.say(
            f"The database was restored, as was noticed at {row.restored_at:%Y-%m-%d %H:%M} UTC: "
            f"it was at generation {seen.get('was_at')}, and the mark at {seen.get('generation')}. "
            f"What may have been sent until {seen.get('sent_before')} was parked."
        )
    if outcome in {"failed", "not cleared"}:
        show.say("The mark can't be compared now, so nothing is sent; the log says why.")
    if found:
        looked_up = sum(one.is_looked_up for one in found)
        show.say(
            f"{len(found)} attempt(s) parked, ${risk / 1_000_000:.2f} at risk; {looked_up} of them "
            "are being looked up. See `longtake restore list`."
        )
        raise typer.Exit(ExitCode.JOB_FAILED)


async def _compared(engine: Engine) -> tuple[str, high_water.Row, list[Parked]]:
    outcome = await tend(engine)
    row = await engine.database.run(high_water.read)
    return outcome, row, await engine.database.run(parking.parked)


def _facts(outcome: str, row: high_water.Row, found: Sequence[Parked]) -> dict[str, Any]:
    return {
        "compared": outcome not in {"failed", "not cleared"},
        "generation": row.generation,
        "restored_at": row.restored_at.isoformat() if row.restored_at else None,
        "mark": row.ahead,
        "parked": len(found),
        "at_risk_usd": sum(one.at_risk_micros for one in found) / 1_000_000,
    }


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List parked attempts, and the money at risk."""
    found: list[Parked] = with_engine(lambda engine: engine.database.run(parking.parked))
    if as_json:
        show.as_json([_row(one) for one in found])
        return
    if not found:
        show.say("No attempt is parked.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("attempt", "account", "job", "marker", "made", "at risk", "look-up"):
        table.add_column(name, no_wrap=True)
    for one in found:
        look_up = "due" if one.is_looked_up else "none: yours to settle"
        made, risk = f"{one.created_at:%Y-%m-%d %H:%M}", f"${one.at_risk_micros / 1_000_000:.2f}"
        table.add_row(one.id, one.account, one.job, one.marker, made, risk, look_up)
    show.out.print(table)
    show.say(f"{len(found)} attempt(s), ${_usd(found):.2f} at risk.")


def _row(one: Parked) -> dict[str, Any]:
    times = {name: getattr(one, name).isoformat() for name in ("created_at", "parked_at")}
    return asdict(one) | times


@app.command()
def release(attempts: Attempts = None, *, every: All = False, yes: Yes = False) -> None:
    """Send parked attempts: you say that they were not sent. They will be paid for."""
    chosen = _chosen(attempts, every=every)
    _confirm(f"Send {len(chosen)} attempt(s) now, for ${_usd(chosen):.2f}?", yes=yes)
    ids = [one.id for one in chosen]
    done = with_engine(
        lambda engine: engine.database.run(lambda connection: parking.release(connection, ids))
    )
    show.say(f"{len(done)} attempt(s) are due to be sent.")


@app.command()
def settle(
    attempt: Annotated[str, typer.Argument(help="As `restore list` shows it.")],
    *,
    operation: Annotated[str, typer.Option(help="Its operation id at the provider.")],
) -> None:
    """Adopt the operation that you found at the provider: it is polled, and not paid for again."""
    try:
        with_engine(lambda engine: parking.settle(engine, attempt, operation))
    except RequestRefused as error:
        raise Refused(error.message) from error
    show.say(f"{attempt} is settled.")


@app.command()
def fail(attempts: Attempts = None, *, every: All = False, yes: Yes = False) -> None:
    """Give parked attempts up: their jobs fail as may-have-been-paid (submit_unknown)."""
    chosen = _chosen(attempts, every=every)
    _confirm(f"Fail the jobs of {len(chosen)} attempt(s)?", yes=yes)
    ids = [one.id for one in chosen]
    done = with_engine(
        lambda engine: engine.database.run(lambda connection: parking.fail(engine, connection, ids))
    )
    show.say(f"{len(done)} attempt(s) are given up.")


@app.command()
def done(*, yes: Yes = False) -> None:
    """Take the database for the truth from here: the restore is over, and a new mark is written."""
    left: list[Parked] = with_engine(lambda engine: engine.database.run(parking.parked))
    if left:
        raise Refused(
            f"{len(left)} attempt(s) are still parked: release, settle or fail them first"
        )
    _confirm("Take the database as it is for the truth?", yes=yes)
    try:
        with_engine(accept_database)
    except (StorageError, TimeoutError) as error:
        raise NotReached(f"the mark can't be written: {error}") from error
    show.say("The restore is over.")


def _chosen(attempts: list[str] | None, *, every: bool) -> list[Parked]:
    """The parked attempts that are meant; every name must be one's."""
    if every == bool(attempts):
        raise Refused("name attempts, or say --all")
    found: list[Parked] = with_engine(lambda engine: engine.database.run(parking.parked))
    if every:
        return found
    missing = set(attempts or ()) - {one.id for one in found}
    if missing:
        raise Refused(
            f"{', '.join(sorted(missing))}: not parked; `longtake restore list` shows what is"
        )
    return [one for one in found if one.id in set(attempts or ())]


def _usd(found: Sequence[Parked]) -> float:
    return sum(one.at_risk_micros for one in found) / 1_000_000


def _confirm(question: str, *, yes: bool) -> None:
    if not yes and not typer.confirm(question, err=True):
        raise Refused("nothing was changed")
