"""The `longtake` command: its command groups, and error handling for all of them."""

import sys
from collections.abc import Sequence

import typer

from cli import (
    gates,
    intake,
    jobs,
    keys,
    lanes,
    limits,
    migrate,
    models,
    money,
    operate,
    providers,
    restore,
    up,
)
from cli.batches import command as batches
from cli.demo import command as demo
from cli.errors import CommandError, ExitCode, Refused
from cli.show import err, say
from models.database import DatabaseAway
from settings import SettingsError
from stack.errors import StackError
from stack.servers.server import EmbeddedServerError

app = typer.Typer(
    help="Longtake makes AI videos: submit a prompt once, pay once, get a video.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (up, demo, jobs, models, migrate, operate, lanes):
    group.register(app)
app.add_typer(batches.app, name="batch", rich_help_panel="Jobs")
app.add_typer(gates.app, name="gates", rich_help_panel="Jobs")
app.add_typer(keys.app, name="keys", rich_help_panel="Operation")
app.add_typer(money.app, name="money", rich_help_panel="Operation")
app.add_typer(limits.app, name="limits", rich_help_panel="Operation")
app.add_typer(providers.app, name="providers", rich_help_panel="Operation")
app.add_typer(restore.app, name="restore", rich_help_panel="Operation")
app.add_typer(intake.app, name="intake", rich_help_panel="Operation")


def main() -> None:
    """Entry point; exits 0, or prints an error and exits with an `ExitCode`."""
    try:
        _check_text(sys.argv[1:])
        app(prog_name="longtake")
    except CommandError as error:
        _end(str(error), error.exit_code)
    except (StackError, EmbeddedServerError, SettingsError) as error:
        _end(str(error), ExitCode.REFUSED)
    except DatabaseAway as error:
        _end(f"no response from the database: {error}", ExitCode.NOT_REACHED)


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse bytes that are no text: no database, URL or JSON takes them."""
    before = ""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            name = before if before.startswith("-") else f"argument {number}"
            raise Refused(f"{name} must be text in UTF-8 (it is {argument[:64]!r})") from None
        before = argument


def _end(message: str, code: ExitCode) -> None:
    err.print("[bold red]error:[/] ", end="")
    say(message)
    sys.exit(code)
