"""The public view of a job: the same JSON for API responses and webhooks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from models.database import Connection, fetch_rows
from models.failure import Failure
from models.records import Json, columns, shown_columns
from models.rows.accounts import Block
from models.rows.jobs import JobRow
from models.rows.outputs import OutputRow
from models.scene import KNOBS
from models.state import FINAL_JOB_STATES, JobState, OutputState, public_status
from models.vault import Vault
from scheduler.intervals import estimated_progress, estimated_remaining
from storage.links import sign_link

#: Lifetime of a signed link in a response, and of one in a webhook, in seconds.
LINK_LIVES = 3600
WEBHOOK_LINK_LIVES = 7 * 86_400

#: Request fields that the view repeats; it leaves out all others.
_ECHOED = (*KNOBS, "fps", "count", "metadata", "priority", "run_at")

#: What a job waits for, by code.
WAITING = {
    "paused": "new requests to its provider are paused",
    "capped": "its provider's account has reached its spending cap",
    Block.AUTH: "its provider refuses our key; it is tried again from time to time",
    Block.QUOTA: "our account at its provider is out of credits or quota; it is tried again",
    Block.RATE: "its provider takes no more of us for a while",
}

#: The plan that is shown: of the attempt that made or is to make the first video.
_DELIVERS = """
    SELECT coalesce((SELECT attempt.choice FROM output AS made
                     JOIN attempt ON attempt.id = made.attempt
                     WHERE made.job = job.id
                     ORDER BY made.state = 'stored' DESC, made.position LIMIT 1), 0)
"""
_HOPS = """
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'from', before.choice, 'to', attempt.choice, 'code', before.error ->> 'code',
               'at', attempt.created_at) ORDER BY attempt.id), '[]')
    FROM attempt JOIN attempt AS before ON before.id = attempt.replaces
    WHERE attempt.job = job.id AND before.choice <> attempt.choice
"""
#: Why and since when a video that is not asked for yet waits for an account.
_WAITS = """
    SELECT jsonb_build_object('code', waits_for, 'since', waits_since) FROM attempt
    WHERE attempt.job = job.id AND state = 'planned' AND waits_for IS NOT NULL ORDER BY id LIMIT 1
"""
#: SQL: the furthest that any attempt of a job came, as reported, 0..1: it never decreases.
FURTHEST = "SELECT max(attempt.progress) FROM attempt WHERE attempt.job = job.id"
#: SQL: jobs as `ShownJob` reads them, `{where}` and by `{order}`.
SELECT = f"""
SELECT {columns(JobRow, of="job")}, now() AS now, latest.progress, ({FURTHEST}) AS furthest,
       CASE WHEN job.fallbacks IS NULL THEN 0 ELSE ({_DELIVERS}) END AS choice,
       CASE WHEN job.fallbacks IS NULL THEN '[]' ELSE ({_HOPS}) END AS hops,
       ({_WAITS}) AS waits,
       coalesce(array_agg(to_jsonb(output) - 'source' ORDER BY output.position)
                FILTER (WHERE output.id IS NOT NULL), '{{{{}}}}') AS outputs
FROM job
LEFT JOIN output ON output.job = job.id
LEFT JOIN LATERAL (SELECT progress FROM attempt WHERE attempt.job = job.id
                   AND EXISTS (SELECT 1 FROM output WHERE output.attempt = attempt.id)
                   ORDER BY id DESC LIMIT 1) AS latest ON true
WHERE {{where}}
GROUP BY job.id, latest.progress
ORDER BY {{order}}
"""  # noqa: S608 - columns of our own


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownJob(JobRow):
    """A job with what its view needs beside its own columns."""

    outputs: tuple[OutputRow, ...]
    #: As the newest attempt's provider reports it, 0..1.
    progress: float | None
    #: The furthest that any of its attempts came, as their providers reported it, 0..1.
    furthest: float | None
    #: The database's clock, which estimates are computed with.
    now: datetime
    #: The number of the plan that the view shows.
    choice: int
    #: Why it waits for an account of its provider, and since when; None if it does not.
    waits: Json | None
    #: How its gate moved on: the numbers of two plans, the failure's code and the time.
    hops: Sequence[Json]

    @property
    def shown_plan(self) -> Json:
        """The plan of the attempt that makes the first video."""
        return self.plan_of(self.choice)

    def plan_of(self, choice: int) -> Json:
        plan: Json = (self.fallbacks or {}).get(str(choice), self.plan)
        return plan

    @classmethod
    def read(cls, *, outputs: Sequence[Json], **values: Any) -> Self:
        """The job from a row of the statement above."""
        return cls(outputs=tuple(map(OutputRow.from_json, outputs)), **values)


async def read_jobs(connection: Connection, ids: Sequence[str]) -> list[ShownJob]:
    """Jobs with their outputs, newest first; ids without a job are left out."""
    sql = SELECT.format(where="job.id = ANY(%(ids)s)", order="job.id DESC")
    return await fetch_rows(connection, ShownJob.read, sql, {"ids": list(ids)})


def job_view(job: ShownJob, *, api_url: str, vault: Vault, link_lives: int = LINK_LIVES) -> Json:
    """The public JSON of a job: the Perf seed's fields and more, without any secret."""
    plan = job.shown_plan
    view: Json = {
        "id": job.id,
        "object": "video.generation",
        "status": public_status(job.state),
        "model": job.model,
        "prompt": job.prompt,
        "duration_seconds": plan["duration_seconds"],
        "resolution": plan["resolution"],
        "aspect_ratio": plan["aspect_ratio"],
        "size": f"{plan['width']}x{plan['height']}",
        **_echoed(job),
        "estimated_cost_usd": usd(plan.get("estimated_cost_micros", job.estimated_cost_micros)),
        "progress_percent": progress_percent(job),
        "progress_source": job.progress_source,
    }
    if job.state in {JobState.SUBMITTING, JobState.PROCESSING}:
        view["estimated_remaining_seconds"] = _remaining(job)
    view |= _shown(job)
    if job.waits and job.state not in FINAL_JOB_STATES:
        view["waiting"] = _waiting_view(job.waits)
    if job.hops:
        view["hops"] = [_hop_view(job, hop) for hop in job.hops]
    if plan.get("ignored"):
        view["ignored"] = plan["ignored"]
    if job.state in FINAL_JOB_STATES:
        view |= _results(job, api_url=api_url, vault=vault, link_lives=link_lives)
    if job.error:
        view["error"] = _error_view(job.error)
        view["error_message"] = view["error"]["message"]
    view["perf"] = _perf(job)
    for name in ("created_at", "accepted_at", "finished_at", "deadline_at"):
        view[name] = iso(getattr(job, name))
    return view


def _echoed(job: ShownJob) -> Json:
    """What the view repeats of the request; metadata as it was given."""
    given = {name: job.request[name] for name in _ECHOED if job.request.get(name) is not None}
    own = {} if job.metadata_text is None else {"metadata": json.loads(job.metadata_text)}
    return given | own


def _shown(job: ShownJob) -> Json:
    """The columns that their row type marks as shown, if they are set."""
    values = {name: getattr(job, name) for name in shown_columns(ShownJob)}
    return {
        name: iso(value) if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }


def _hop_view(job: ShownJob, hop: Json) -> Json:
    return {
        "from_model": job.plan_of(hop["from"])["model"],
        "to_model": job.plan_of(hop["to"])["model"],
        "code": hop["code"],
        "at": iso(datetime.fromisoformat(hop["at"])),
    }


def _waiting_view(waits: Json) -> Json:
    """Without the account's name and the operator's words, which are not the client's."""
    reason = WAITING.get(waits["code"], "the provider takes no new requests at the moment")
    since = iso(datetime.fromisoformat(waits["since"]))
    return {"code": waits["code"], "message": reason, "since": since}


def _results(job: ShownJob, *, api_url: str, vault: Vault, link_lives: int) -> Json:
    """What a final job shows beyond a running one: its outputs under fresh links, and its cost."""
    outputs = [
        _output_view(output, job, api_url=api_url, vault=vault, link_lives=link_lives)
        for output in job.outputs
    ]
    links = [output["url"] for output in outputs if "url" in output]
    first = {"video_url": links[0]} if links else {}
    return {"outputs": outputs, **first, "cost_usd": usd(job.cost_micros or 0)}


def usd(micros: int) -> float:
    """Dollars from millionths, as a JSON number."""
    return round(micros / 1_000_000, 6)


class _Progressing(Protocol):
    """The columns of a job that its progress is computed from."""

    @property
    def progress_percent(self) -> int: ...
    @property
    def furthest(self) -> float | None: ...
    @property
    def progress_source(self) -> str: ...
    @property
    def typical_seconds(self) -> float: ...
    @property
    def accepted_at(self) -> datetime | None: ...
    @property
    def finished_at(self) -> datetime | None: ...
    @property
    def now(self) -> datetime: ...


def progress_percent(job: _Progressing) -> int:
    """The reported progress, or the estimate for now if that is further along; 100 at the end."""
    written = max(job.progress_percent, min(99, int(100 * (job.furthest or 0.0))))
    if job.progress_source == "reported" or written == 100:  # noqa: PLR2004 - complete
        return written
    # After the last poll, and up to the end of a failed job: progress once shown never decreases.
    estimate = estimated_progress(elapsed=_elapsed(job), typical=job.typical_seconds)
    return max(written, estimate)


def content_path(job_id: str) -> str:
    return f"/v1/video/generations/{job_id}/content"


def _elapsed(job: _Progressing) -> float:
    if job.accepted_at is None:
        return 0.0
    return ((job.finished_at or job.now) - job.accepted_at).total_seconds()


def _remaining(job: ShownJob) -> int:
    progress = job.progress if job.progress_source == "reported" else None
    return round(
        estimated_remaining(elapsed=_elapsed(job), typical=job.typical_seconds, progress=progress)
    )


def _output_view(
    output: OutputRow, job: ShownJob, *, api_url: str, vault: Vault, link_lives: int
) -> Json:
    view: Json = {"index": output.position, "status": _output_status(output)}
    if output.is_deleted:
        view["deleted_at"] = iso(output.deleted_at)
    elif output.state == OutputState.STORED:
        path = f"{content_path(job.id)}/{output.position}"
        expires = int(job.now.timestamp()) + link_lives
        view["url"] = f"{api_url}{path}?{sign_link(vault.link_keys, path, expires=expires)}"
        view |= _file_view(output)
    elif output.error:
        view["error"] = _error_view(output.error)
    return view


def _file_view(output: OutputRow) -> Json:
    recovered = {"recovered_at": iso(output.recovered_at)} if output.recovered_at else {}
    return {
        "sha256": output.sha256,
        "bytes": output.bytes,
        "content_type": output.content_type,
        "duration_seconds": output.duration_seconds,
        "width": output.width,
        "height": output.height,
        "fps": output.fps,
        **recovered,
    }


def _error_view(error: Json) -> dict[str, str]:
    failure = Failure.from_json(error)
    return {"code": failure.code, "message": failure.message}


def _output_status(output: OutputRow) -> str:
    match output.state:
        case _ if output.is_deleted:
            return "deleted"
        case OutputState.STORED | OutputState.FAILED:
            return output.state
        case _:
            return "pending"


def _perf(job: ShownJob) -> Json:
    perf: Json = {"request_id": job.request_id, "model_used": job.shown_plan["model"]}
    if job.state == JobState.COMPLETE and job.finished_at:
        took = job.finished_at - (job.accepted_at or job.created_at)
        perf["generation_time_ms"] = round(took.total_seconds() * 1000)
        perf["cost_usd"] = usd(job.cost_micros or 0)
    return perf


def iso(moment: datetime | None) -> str | None:
    """A time as views show it: UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
