"""The job commands but submit: get, wait, list, cancel, retry, delete."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer

from cli import show
from cli.api import Api, Json
from cli.errors import JobFailed, Refused
from cli.options import ApiKey, ApiUrl, AsJson, connect
from cli.waiting import wait_for

PANEL = "Jobs"

JobId = Annotated[str, typer.Argument(metavar="ID", help="Job id, as printed by submit.")]
JobIds = Annotated[list[str], typer.Argument(metavar="ID…", help="Job ids, as printed by submit.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", help="Save the video to this file; implies --wait."
    ),
]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(get)
    app.command(rich_help_panel=PANEL)(wait)
    app.command("list", rich_help_panel=PANEL)(list_)
    app.command(rich_help_panel=PANEL)(cancel)
    app.command(rich_help_panel=PANEL)(retry)
    app.command(rich_help_panel=PANEL)(delete)


def get(
    job_id: JobId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Show a job's current state."""
    with connect(api_url, api_key) as api:
        found = api.job(job_id)
    _show(found, as_json=as_json)


def wait(
    job_ids: JobIds,
    *,
    out: Out = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Wait until jobs have ended; exits 1 if any ended without a video."""
    if out and len(job_ids) > 1:
        raise Refused("--out takes one job")
    check_out(out)
    with connect(api_url, api_key) as api:
        wait_and_show(api, job_ids, out=out, as_json=as_json)


def list_(
    *,
    status: Annotated[str | None, typer.Option(help="pending, processing, complete, …")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only this model's.")] = None,
    app_id: Annotated[str | None, typer.Option(help="Only this app's.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Only jobs whose prompts have these words, or this job's id.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of jobs.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only jobs older than this one.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connect(api_url, api_key) as api:
        page = api.jobs(
            status=status, model=model, app_id=app_id, text=text, limit=limit, after=after
        )
    if as_json:
        show.as_json(page)
        return
    show.jobs(page["data"])
    if page["has_more"]:
        show.say(f"More: --after {page['next']}")


def cancel(
    job_id: JobId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Cancel a job; a finished one is unchanged."""
    with connect(api_url, api_key) as api:
        found = api.cancel(job_id)
    _show(found, as_json=as_json)


def retry(
    job_id: JobId,
    *,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeats with the same key create one job.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until the job ends.")] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit a failed or cancelled job's request again and print the new job's id."""
    with connect(api_url, api_key) as api:
        job = api.retry(job_id, idempotency_key=idempotency_key)
        if wait:
            if not as_json:
                show.say(job["id"])
            wait_and_show(api, [job["id"]], out=None, as_json=as_json)
        elif as_json:
            show.as_json(job)
        else:
            show.result(job["id"])


def delete(
    job_id: JobId, *, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Delete a job's prompt, pictures and videos; an unfinished one is cancelled first."""
    with connect(api_url, api_key) as api:
        deleted = api.delete(job_id)
    if as_json:
        show.as_json(deleted)
    else:
        show.say(f"{deleted['id']} is deleted; its times and its cost stay.")


def _show(found: Json, *, as_json: bool) -> None:
    if as_json:
        show.as_json(found)
    else:
        show.job(found)


def check_out(out: Path | None) -> None:
    """Refuse a file that can't be written, before a video for it is paid for or waited for."""
    if out is None:
        return
    try:
        if out.is_dir():
            raise Refused(f"--out must be a file: {out} is a folder")
        if out.exists() and not out.is_file():  # the download would take its name
            raise Refused(f"--out must be a file: {out} is a device or a pipe")
        TemporaryFile(dir=out.parent).close()
    except OSError as error:
        raise _not_written(out, error) from error


def _not_written(out: Path, error: OSError) -> Refused:
    return Refused(f"--out: cannot write {out}: {error.strerror}")


def wait_and_show(api: Api, job_ids: list[str], *, out: Path | None, as_json: bool) -> None:
    """Wait, save and print; raises JobFailed if a job ended without a video."""
    ended = wait_for(api, job_ids)
    if out and ended[0]["status"] == "complete":
        try:
            size = api.download(ended[0]["video_url"], out)
        except OSError as error:
            raise _not_written(out, error) from error
        show.say(f"{out} ({size:,} bytes)")
    if as_json:
        show.as_json(ended[0] if len(ended) == 1 else ended)
    elif len(ended) == 1:
        show.job(ended[0])
    else:
        show.jobs(ended)
    if lost := [job for job in ended if job["status"] != "complete"]:
        raise JobFailed("; ".join(_why(job) for job in lost))


def _why(job: Json) -> str:
    reason = job.get("error_message")
    return f"{job['id']} {job['status']}" + (f": {reason}" if reason else "")
