"""`longtake migrate`: brings the database schema up to date."""

import typer
from sqlalchemy.exc import OperationalError

from cli.errors import NotReached
from cli.show import say
from models.migrate import upgrade
from models.revision import newest
from settings import load


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operation")(migrate)


def migrate() -> None:
    """Migrate the database of LONGTAKE_DATABASE_URL to the newest schema; idempotent.

    A local stack does this automatically.
    """
    url = load(sealing=False).require_database()  # it seals nothing
    try:
        upgrade(url)
    except OperationalError as error:
        raise NotReached(f"no response from the database: {_first_line(error)}") from error
    say(f"The database is at {newest()}.")


def _first_line(error: OperationalError) -> str:
    return str(error.orig).strip().partition("\n")[0]
