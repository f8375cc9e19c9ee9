"""A job as the outside sees it: one shape for the API's answers and for webhooks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from models.database import Connection
from models.failure import Failure
from models.scene import KNOBS
from models.state import FINAL_JOB_STATES, JobState, OutputState, public_status
from models.vault import Vault
from scheduler.intervals import estimated_progress, estimated_remaining
from storage.links import sign_link

#: How long a link that a GET hands out lives, and one in a webhook, in seconds.
LINK_LIVES = 3600
WEBHOOK_LINK_LIVES = 7 * 86_400

#: Echoed back as they were asked; everything else in the request is left out of views.
_ECHOED = (*KNOBS, "fps", "count", "metadata", "priority", "run_at")

_SELECT = """
SELECT job.*, now() AS now, latest.progress, latest.operation_id IS NOT NULL AS has_operation,
       coalesce(array_agg(to_jsonb(output) - 'source' ORDER BY output.position)
                FILTER (WHERE output.id IS NOT NULL), '{{}}') AS outputs
FROM job
LEFT JOIN output ON output.job = job.id
LEFT JOIN LATERAL (SELECT progress, operation_id FROM attempt WHERE attempt.job = job.id
                   AND EXISTS (SELECT 1 FROM output WHERE output.attempt = attempt.id)
                   ORDER BY id DESC LIMIT 1) AS latest ON true
WHERE {where}
GROUP BY job.id, latest.progress, latest.operation_id
ORDER BY job.id DESC
LIMIT %(limit)s
"""


async def read_jobs(connection: Connection, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of jobs with their outputs, ready for `job_view`."""
    sql = _SELECT.format(where="job.id = ANY(%(ids)s)")
    cursor = await connection.execute(sql, {"ids": list(ids), "limit": len(ids)})
    return await cursor.fetchall()


async def list_jobs(
    connection: Connection,
    *,
    tenant: str,
    states: Sequence[JobState] | None,
    model: str | None,
    app_id: str | None,
    after: str | None,
    limit: int,
) -> list[dict[str, Any]]:
    """A tenant's jobs, newest first, older than `after`."""
    sql = _SELECT.format(
        where="""job.tenant = %(tenant)s
        AND (%(states)s::text[] IS NULL OR job.state = ANY(%(states)s))
        AND (%(model)s::text IS NULL OR job.model = %(model)s)
        AND (%(app_id)s::text IS NULL OR job.app_id = %(app_id)s)
        AND (%(after)s::text IS NULL OR job.id < %(after)s)"""
    )
    cursor = await connection.execute(
        sql,
        {
            "tenant": tenant,
            "states": list(states) if states is not None else None,
            "model": model,
            "app_id": app_id,
            "after": after,
            "limit": limit,
        },
    )
    return await cursor.fetchall()


def job_view(
    row: Mapping[str, Any], *, api_url: str, vault: Vault, link_lives: int = LINK_LIVES
) -> dict[str, Any]:
    """The public JSON of a job: the Perf seed's fields, and more; never the webhook's secret."""
    state: str = row["state"]  # perhaps one that only a newer version knows
    plan, request = row["plan"], row["request"]
    view: dict[str, Any] = {
        "id": row["id"],
        "object": "video.generation",
        "status": public_status(state),
        "model": row["model"],
        "prompt": row["prompt"],
        "duration_seconds": plan["duration_seconds"],
        "resolution": plan["resolution"],
        "aspect_ratio": plan["aspect_ratio"],
        "size": f"{plan['width']}x{plan['height']}",
        **{name: request[name] for name in _ECHOED if request.get(name) is not None},
        "estimated_cost_usd": usd(row["estimated_cost_micros"]),
        "progress_percent": progress_percent(row),
        "progress_source": row["progress_source"],
    }
    if state in {JobState.SUBMITTING, JobState.PROCESSING}:
        view["estimated_remaining_seconds"] = _remaining(row)
    if row["app_id"]:
        view["app_id"] = row["app_id"]
    if plan.get("ignored"):
        view["ignored"] = plan["ignored"]
    if state in FINAL_JOB_STATES:
        view["outputs"] = [
            _output_view(output, row, api_url=api_url, vault=vault, link_lives=link_lives)
            for output in row["outputs"]
        ]
        links = [output["url"] for output in view["outputs"] if "url" in output]
        if links:
            view["video_url"] = links[0]
        view["cost_usd"] = usd(row["cost_micros"] or 0)
    if row["error"]:
        view["error"] = _error_view(row["error"])
        view["error_message"] = view["error"]["message"]
    view["perf"] = _perf(row, state)
    for name in ("created_at", "accepted_at", "finished_at", "deadline_at"):
        view[name] = _iso(row[name])
    return view


def usd(micros: int) -> float:
    """Dollars from millionths, as a JSON number."""
    return round(micros / 1_000_000, 6)


def progress_percent(row: Mapping[str, Any]) -> int:
    """What was last written, or the estimate for now when that is further along."""
    written: int = row["progress_percent"]
    if row["progress_source"] == "reported" or written == 100:  # noqa: PLR2004 - complete
        return written
    # On after the last poll, and up to the end of a failed job: what was once shown is never less.
    estimate = estimated_progress(elapsed=_elapsed(row), typical=row["typical_seconds"])
    return max(written, estimate)


def content_path(job_id: str) -> str:
    return f"/v1/video/generations/{job_id}/content"


def _elapsed(row: Mapping[str, Any]) -> float:
    accepted: datetime | None = row["accepted_at"]
    return ((row["finished_at"] or row["now"]) - accepted).total_seconds() if accepted else 0.0


def _remaining(row: Mapping[str, Any]) -> int:
    progress = row["progress"] if row["progress_source"] == "reported" else None
    return round(
        estimated_remaining(
            elapsed=_elapsed(row), typical=row["typical_seconds"], progress=progress
        )
    )


def _output_view(
    output: Mapping[str, Any],
    row: Mapping[str, Any],
    *,
    api_url: str,
    vault: Vault,
    link_lives: int,
) -> dict[str, Any]:
    view: dict[str, Any] = {"index": output["position"], "status": _output_status(output)}
    if output["state"] == OutputState.STORED and not _is_deleted(output):
        path = f"{content_path(row['id'])}/{output['position']}"
        expires = int(row["now"].timestamp()) + link_lives
        view["url"] = f"{api_url}{path}?{sign_link(vault.link_keys, path, expires=expires)}"
        for name in (
            *("sha256", "bytes", "content_type", "duration_seconds"),
            *("width", "height", "fps"),
        ):
            view[name] = output[name]
        if output.get("recovered_at"):
            view["recovered_at"] = _iso(_moment(output["recovered_at"]))
    elif _is_deleted(output):
        view["deleted_at"] = _iso(_moment(output["deleted_at"]))
    elif output["error"]:
        view["error"] = _error_view(output["error"])
    return view


def _is_deleted(output: Mapping[str, Any]) -> bool:
    """Whether it was stored, and is older than it was to be kept."""
    return output.get("deleted_at") is not None


def _error_view(error: Mapping[str, Any]) -> dict[str, str]:
    failure = Failure.from_json(error)
    return {"code": failure.code, "message": failure.message}


def _output_status(output: Mapping[str, Any]) -> str:
    if _is_deleted(output):
        return "deleted"
    return {OutputState.STORED: "stored", OutputState.FAILED: "failed"}.get(
        output["state"], "pending"
    )


def _perf(row: Mapping[str, Any], state: str) -> dict[str, Any]:
    perf: dict[str, Any] = {"request_id": row["request_id"], "model_used": row["plan"]["model"]}
    if state == JobState.COMPLETE:
        lasted = row["finished_at"] - (row["accepted_at"] or row["created_at"])
        perf["generation_time_ms"] = round(lasted.total_seconds() * 1000)
        perf["cost_usd"] = usd(row["cost_micros"] or 0)
    return perf


def _moment(text: str) -> datetime:
    """A time as it stands in an output's JSON, in whatever zone the connection has."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
