"""The `longtake` command: its entry point, and error handling for all commands."""

import sys
from collections.abc import Sequence

import typer

from cli.commands import OnDemand
from cli.errors import CommandError, ExitCode, Refused

app = typer.Typer(
    cls=OnDemand,
    help="Longtake makes AI videos: submit a prompt once, pay once, get a video.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(lambda: None)  # Typer wants something of its own to run


def main() -> None:
    """Entry point; exits 0, or prints an error and exits with an `ExitCode`."""
    try:
        _check_text(sys.argv[1:])
        app(prog_name="longtake")
    except CommandError as error:
        _end(str(error), error.exit_code)
    except Exception as error:
        if (known := _known(error)) is None:
            raise
        _end(*known)


def _known(error: Exception) -> tuple[str, ExitCode] | None:
    """The message and exit code of errors of the layers below; None for what nobody expected."""
    # Imported only now: together they cost more than most commands.
    from models.database import DatabaseAway  # noqa: PLC0415
    from models.revision import SchemaNewer  # noqa: PLC0415
    from settings import SettingsError  # noqa: PLC0415
    from stack.errors import StackError  # noqa: PLC0415
    from stack.servers.server import EmbeddedServerError  # noqa: PLC0415
    from storage.base import NotOpened  # noqa: PLC0415

    refused = StackError | EmbeddedServerError | SettingsError | SchemaNewer | NotOpened
    if isinstance(error, refused):
        return str(error), ExitCode.REFUSED
    if isinstance(error, DatabaseAway):
        return f"no response from the database: {error}", ExitCode.NOT_REACHED
    return None


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
    from cli.show import err, say  # noqa: PLC0415 - a help has nothing of its own to print

    err.print("[bold red]error:[/] ", end="")
    say(message)
    sys.exit(code)
