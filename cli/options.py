"""Options that many commands share, and what they stand for."""

from pathlib import Path
from typing import Annotated

import typer

from cli.api import Api
from settings import environment, load
from worker.stack.keys import DEV_API_KEY

ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        envvar="LONGTAKE_API_URL",
        help="Where the API is; by default the stack of this machine.",
        rich_help_panel="Connection",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="LONGTAKE_API_KEY",
        help="Who asks; by default the running stack's development key.",
        rich_help_panel="Connection",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def connect(url: str | None, key: str | None) -> Api:
    """The API that the options mean; raises SettingsError for a wrong variable."""
    # Port 0 asks a stack to choose one; the one that it chose is in its file.
    ours = environment()
    if ours.get("LONGTAKE_API_PORT") == "0":
        del ours["LONGTAKE_API_PORT"]
    settings = load(ours)
    # The development key goes to this machine's stack and to nobody else.
    return Api(url or settings.api_url, key or (None if url else _kept_key(settings.data_dir)))


def _kept_key(data_dir: Path) -> str | None:
    try:
        return (data_dir / DEV_API_KEY).read_text().strip() or None
    except OSError:
        return None
