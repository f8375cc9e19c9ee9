"""`longtake up`: the local stack in the foreground, until Ctrl-C."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli.show import err, say
from cli.stopping import stopped_by_signals
from settings import environment
from stack.stack import Stack, running


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Local stack")(up)


def up(
    *,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate", help="Point every provider without credentials at the simulator."
        ),
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="LONGTAKE_DATA_DIR",
            help="Where servers, videos and logs live; .longtake by default.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the whole system on this machine until Ctrl-C: servers, workers, beat, API, Flower.

    Ctrl-C waits for paid requests in flight and says so; Ctrl-C again stops at once.

    Data is kept: the next start goes on where this one ended. Ports are LONGTAKE_API_PORT (8000),
    LONGTAKE_FLOWER_PORT (5555) and LONGTAKE_SIM_PORT (8100); 0 chooses a free one.

    For example: [cyan]longtake up --simulate[/]
    """
    inherited = environment()
    if data_dir is not None:
        inherited["LONGTAKE_DATA_DIR"] = str(data_dir)
    asyncio.run(_up(inherited, simulate=simulate))


async def _up(inherited: Mapping[str, str], *, simulate: bool) -> None:
    with stopped_by_signals(lambda: say("Stopping …")) as stop:
        try:
            async with running(inherited, simulate=simulate, tell=say, hurry=stop.hurry) as stack:
                _greet(stack)
                await stack.crew.forever()
        except asyncio.CancelledError:
            if not stop.asked:
                raise
    say("Stopped. Nothing is left running.")


def _greet(stack: Stack) -> None:
    err.print()
    for name, url in _addresses(stack):
        err.print(f"  {name:<11}[cyan]{url}[/]")
    err.print(f"  {'API key':<11}[green]{stack.api_key}[/]  (tenant default)")
    say(f"  {'Logs':<11}{stack.logs}")
    err.print("\n  Try: [cyan]longtake submit 'A lighthouse in a storm' --wait[/]")
    err.print("       [cyan]longtake ui-link --tenant default[/] signs a browser in at the pages")
    err.print("  Ctrl-C stops everything.\n")


def _addresses(stack: Stack) -> list[tuple[str, str]]:
    found = [("API", stack.api_url), ("Pages", f"{stack.api_url}/ui"), ("Flower", stack.flower_url)]
    return [*found, ("Simulator", stack.simulator_url)] if stack.simulator_url else found
