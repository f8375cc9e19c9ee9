"""`longtake submit`, whose options follow from the request's fields."""

import sys
from typing import Annotated, Any

import typer

from cli import show
from cli.jobs import PANEL, Out, check_out, wait_and_show
from cli.options import ApiKey, ApiUrl, AsJson, connect
from cli.parameters import body_of, with_parameters


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(submit)


@with_parameters
def submit(
    prompt: Annotated[str, typer.Argument(help="What the video shows; - reads standard input.")],
    *,
    app_id: Annotated[
        str | None, typer.Option(help="App the job is for, in usage reports.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeats with the same key create one job.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until the job ends.")] = False,
    out: Out = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Submit a video generation and print the job's id.

    For example: [cyan]longtake submit "A lighthouse in a storm" --wait[/]

    or: [cyan]longtake submit "A paper boat" -m veo-3 -d 4 --out boat.mp4[/]
    """
    check_out(out)
    body = {"prompt": _typed(prompt), **body_of(given)}
    with connect(api_url, api_key) as api:
        job = api.submit(body, app_id=app_id, idempotency_key=idempotency_key)
        if wait or out:
            if not as_json:
                show.say(job["id"])
            wait_and_show(api, [job["id"]], out=out, as_json=as_json)
        elif as_json:
            show.as_json(job)
        else:
            show.result(job["id"])


def _typed(prompt: str) -> str:
    return sys.stdin.read().strip() if prompt == "-" else prompt
