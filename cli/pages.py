"""`longtake ui-link`: prints a link that signs one browser in at the pages."""

from typing import Annotated

import typer

from cli import show
from cli.database import in_transaction
from cli.errors import Refused
from models.page_sessions import LINK_LIVES, create_link, end_sessions
from settings import load


def register(app: typer.Typer) -> None:
    app.command("ui-link", rich_help_panel="Operation")(ui_link)


def ui_link(
    *,
    tenant: Annotated[str, typer.Option(help="Whose jobs the session sees and changes.")],
    admin: Annotated[
        bool, typer.Option("--admin", help="It reads all tenants, and runs providers' accounts.")
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="It changes nothing, not even the tenant's own.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(help="The id of a key that it acts for: it has its limits, and ends with it."),
    ] = None,
    end: Annotated[
        bool, typer.Option("--end", help="Make none: end all sessions and links of the tenant.")
    ] = False,
) -> None:
    """Print a link that signs a browser in at the jobs page, once and within ten minutes.

    For example: [cyan]longtake ui-link --tenant acme --read-only[/]
    """
    settings = load()
    if end:
        if admin or read_only or key is not None:
            raise Refused("--end takes --tenant alone")
        show.say(f"{in_transaction(lambda c: end_sessions(c, tenant))} sessions and links ended.")
        return
    plain = in_transaction(
        lambda c: create_link(c, tenant, key=key, is_admin=admin, is_read_only=read_only)
    )
    base = settings.api_url.removesuffix(settings.ui_prefix)  # which may name the path already
    show.result(f"{base}{settings.ui_prefix}/ui/in/{plain}")
    show.say(
        f"It works once, within {LINK_LIVES / 60:.0f} minutes, and opens a session of 12 hours."
    )
