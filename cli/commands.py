"""The commands by name, and the group that imports a command's module only to run it.

`longtake --help` shows this table and imports none of them; a test compares it with the commands.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Listed:
    """A command as the help lists it."""

    #: The module that registers it (`register`), or whose `app` is the group.
    module: str
    panel: str
    summary: str


#: In the order of the help.
COMMANDS = {
    "up": Listed(
        "cli.up",
        "Local stack",
        "Run the whole system on this machine until Ctrl-C: servers, workers, beat, API, Flower.",
    ),
    "demo": Listed(
        "cli.demo.command",
        "Local stack",
        "Run real prompts through every model, end to end, and verify every promise.",
    ),
    "submit": Listed("cli.submit", "Jobs", "Submit a video generation and print the job's id."),
    "get": Listed("cli.jobs", "Jobs", "Show a job's current state."),
    "wait": Listed(
        "cli.jobs", "Jobs", "Wait until jobs have ended; exits 1 if any ended without a video."
    ),
    "list": Listed("cli.jobs", "Jobs", "List jobs, newest first."),
    "top": Listed(
        "cli.top",
        "Jobs",
        "The newest jobs in the terminal, kept up to date; keys move, filter and cancel.",
    ),
    "cancel": Listed("cli.jobs", "Jobs", "Cancel a job; a finished one is unchanged."),
    "retry": Listed(
        "cli.jobs",
        "Jobs",
        "Submit a failed or cancelled job's request again and print the new job's id.",
    ),
    "delete": Listed(
        "cli.jobs",
        "Jobs",
        "Delete a job's prompt, pictures and videos; an unfinished one is cancelled first.",
    ),
    "models": Listed(
        "cli.models",
        "Jobs",
        "List the models with their limits, price per second and availability.",
    ),
    "migrate": Listed(
        "cli.migrate",
        "Operation",
        "Migrate the database of LONGTAKE_DATABASE_URL to the newest schema; idempotent.",
    ),
    "doctor": Listed(
        "cli.operate",
        "Operation",
        "Check every invariant against the live database and say what is wrong, in words.",
    ),
    "retry-store": Listed(
        "cli.operate",
        "Operation",
        "Have the workers bring in a job's missing videos now, also those that it ended without.",
    ),
    "prune": Listed(
        "cli.operate",
        "Operation",
        "Delete what is older than it is to be kept (LONGTAKE_KEEP_…_DAYS), once, now.",
    ),
    "reseal": Listed(
        "cli.operate",
        "Operation",
        "Seal every stored secret anew with the newest of LONGTAKE_SECRET_KEYS.",
    ),
    "lanes": Listed(
        "cli.lanes",
        "Operation",
        "What is due and in flight in every lane, how old it is, and what holds it back.",
    ),
    "logs": Listed(
        "cli.logs",
        "Operation",
        "A job's lines of all logs, and its events, in the order of time.",
    ),
    "reconcile": Listed(
        "cli.operate",
        "Operation",
        "Attempts that may have cost money unknown to us: list, look up, settle.",
    ),
    "batch": Listed("cli.batches.command", "Jobs", "Many requests at once, from a file."),
    "gates": Listed(
        "cli.gates", "Jobs", "Create, list and delete gates, which choose among models."
    ),
    "webhooks": Listed("cli.webhooks", "Jobs", "Webhooks: list deliveries, and replay one."),
    "keys": Listed("cli.keys", "Operation", "Create, list and revoke API keys."),
    "ui-link": Listed(
        "cli.pages",
        "Operation",
        "Print a link that signs a browser in at the jobs page, once and within ten minutes.",
    ),
    "money": Listed(
        "cli.money", "Operation", "Balances, deposits, budgets and statements of tenants."
    ),
    "limits": Listed("cli.limits", "Operation", "Limits of tenants and API keys."),
    "providers": Listed(
        "cli.providers",
        "Operation",
        "Accounts at providers: list, pause and resume them, cap what they spend.",
    ),
    "restore": Listed(
        "cli.restore",
        "Operation",
        "After a restore: attempts that may have been paid for since the backup, and what to do.",
    ),
    "intake": Listed("cli.intake", "Operation", "Requests from the broker that were rejected."),
}


def loaded(name: str) -> Any:
    """The command itself, after importing its module."""
    listed = COMMANDS[name]
    module = importlib.import_module(listed.module)
    found = typer.Typer(rich_markup_mode="rich")
    found.callback()(lambda: None)  # also a single command keeps its name
    if hasattr(module, "register"):
        module.register(found)
    else:
        found.add_typer(module.app, name=name, rich_help_panel=listed.panel)
    whole: Any = typer.main.get_command(found)
    return whole.commands[name]


class OnDemand(TyperGroup):
    """A group of COMMANDS, of which only the one that is run is imported."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = {
            name: TyperCommand(name, callback=None, help=each.summary, rich_help_panel=each.panel)
            for name, each in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, loaded(name) if name in COMMANDS else command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message += _typed(error)
            raise


def _typed(error: typer.BadParameter) -> str:
    """What was typed for a number that is none, or out of range: Typer names the option alone."""
    invalid = error.__cause__
    if not isinstance(invalid, ValueError) or not hasattr(invalid, "errors"):
        return ""
    return f" (it is {str(invalid.errors()[0]['input'])[:64]!r})"
