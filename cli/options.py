"""Options shared by several commands."""

from pathlib import Path
from typing import Annotated

import typer

from cli.api import Api
from settings import environment, load
from stack.files import DEV_API_KEY

ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        envvar="LONGTAKE_API_URL",
        help="URL of the API; default: the local stack.",
        rich_help_panel="Connection",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="LONGTAKE_API_KEY",
        help="API key; default: the running stack's development key.",
        rich_help_panel="Connection",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def connect(url: str | None, key: str | None) -> Api:
    """The API client for the options; raises SettingsError for an invalid variable."""
    return Api(*address(url, key))


def address(url: str | None, key: str | None) -> tuple[str, str | None]:
    """The API's URL and the key for it, if there is one; raises as `connect`."""
    # Port 0 lets a stack choose one, which it records in its file.
    ours = environment()
    if ours.get("LONGTAKE_API_PORT") == "0":
        del ours["LONGTAKE_API_PORT"]
    settings = load(ours)
    # Send the development key to the local stack only.
    own = None if url else _development_key(settings.data_dir)
    return url or settings.api_url, key or own


def _development_key(data_dir: Path) -> str | None:
    try:
        return (data_dir / DEV_API_KEY).read_text().strip() or None
    except OSError:
        return None
