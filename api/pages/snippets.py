"""A job's request as a program would send it, without what is secret of it."""

import json
import shlex

from api.pages.words import HIDDEN
from models.records import Json
from tasks.retry import is_default
from tasks.view import ShownJob

_PATH = "/v1/video/generations"


def request_of(job: ShownJob) -> Json:
    """The fields that were set; pictures, webhook and its secret are sealed and left out."""
    body = {name: value for name, value in job.request.items() if not is_default(name, value)}
    if job.metadata_text is not None:
        body["metadata"] = json.loads(job.metadata_text)
    if job.gate is not None:
        body["gate"] = job.gate
    return body


def as_curl(job: ShownJob, *, api_url: str) -> str:
    """For a shell, with the key in the variable that the command line reads as well."""
    body = json.dumps(request_of(job), ensure_ascii=False)
    # What pages do not show as it is, so that what is copied is the same request.
    body = HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", body)
    return " \\\n  ".join(
        (
            f"curl {shlex.quote(api_url + _PATH)}",
            '-H "Authorization: Bearer $LONGTAKE_API_KEY"',
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(body)}",
        )
    )


def as_python(job: ShownJob, *, api_url: str) -> str:
    """For Longtake's client, which takes its key from the environment."""
    body = request_of(job)
    prompt = body.pop("prompt", job.prompt)
    fields = "".join(f"        {name}={value!r},\n" for name, value in body.items())
    return (
        "from longtake import Client\n\n"
        f"with Client(base_url={api_url!r}) as client:\n"
        f"    job = client.generate(\n        {prompt!r},\n        'video.mp4',\n{fields}    )\n"
    )
