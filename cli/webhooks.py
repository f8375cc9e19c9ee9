"""`longtake webhooks`: a tenant's webhooks with their tries, and sending one again."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli import show
from cli.api import Json
from cli.options import ApiKey, ApiUrl, AsJson, connect

app = typer.Typer(help="Webhooks: list deliveries, and replay one.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    job_id: Annotated[str | None, typer.Option("--job", help="Only this job's.")] = None,
    batch_id: Annotated[str | None, typer.Option("--batch", help="Only this batch's own.")] = None,
    status: Annotated[
        str | None, typer.Option(help="pending, delivered, gone or exhausted.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of webhooks.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only webhooks older than this one.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List webhooks, newest first, with the last try's answer and when the next one is due.

    For example: [cyan]longtake webhooks list --status exhausted[/]
    """
    with connect(api_url, api_key) as api:
        page = api.deliveries(
            job_id=job_id, batch_id=batch_id, status=status, limit=limit, after=after
        )
    if as_json:
        show.as_json(page)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "status", "event", "of", "tries", "last answer", "next try"):
        # Narrow terminals fold the rest: an id that is cut off can't be replayed.
        table.add_column(name, overflow="fold", no_wrap=name == "id")
    for each in page["data"]:
        of = each["job_id"] or each["batch_id"] or ""
        next_try = (each["next_try_at"] or "")[:19].replace("T", " ")
        row = (each["id"], each["status"], each["type"], of, str(len(each["tries"])))
        table.add_row(*row, Text(_last_answer(each)), next_try)
    show.out.print(table)
    if page["has_more"]:
        show.say(f"More: --after {page['next']}")


@app.command()
def replay(
    webhook: Annotated[str, typer.Argument(metavar="ID", help="A webhook's id, from the list.")],
    *,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Send a webhook again, whatever its status: the same id and body, freshly signed."""
    with connect(api_url, api_key) as api:
        due = api.replay(webhook)
    if as_json:
        show.as_json(due)
    elif due["try_under_way"]:
        show.say(f"{due['id']} is being sent; it is sent once more after that.")
    else:
        show.say(f"{due['id']} is sent again now.")


def _last_answer(delivery: Json) -> str:
    """What its receiver said last, or why it said nothing."""
    if not delivery["tries"]:
        return ""
    last = delivery["tries"][-1]
    return last["error"] or str(last["status"])
