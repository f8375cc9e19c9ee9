"""The client: jobs, models, usage, and `batches`."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from longtake._async.batches import AsyncBatches
from longtake._async.downloading import download
from longtake._async.following import events, until_final
from longtake._async.paging import listed, pages
from longtake._async.wire import AsyncWire
from longtake.bodies import encoded
from longtake.calls import Call, creating
from longtake.errors import JobCancelled, JobFailed, NoVideo, submitted
from longtake.partial import check_target
from longtake.results import Deleted, Job, Model, Output, ServerEvent, Usage
from longtake.seam import AsyncStream, async_blocking
from longtake.streams import answered

_JOBS = "/v1/video/generations"
_KEY = re.compile(r"[!-~]+", re.ASCII)


class AsyncClient:
    """Speaks to one API with one key; close it, or use it in a `with` statement.

    Everything that it sends may safely be sent again, so it does so by itself, up to `max_retries`
    times, after a lost connection and after 429, 502, 503 and 504. What it raises is in
    `longtake.errors`.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_retries: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Without a key or an address, LONGTAKE_API_KEY and LONGTAKE_API_URL have them.

        The timeouts are in seconds: of a connection, and of silence while an answer is read or
        written. `transport` is httpx's, for a proxy or a test.

        Raises:
            ValueError: there is no key, or one that a header can't carry; no http address.
        """
        api_key = api_key or os.environ.get("LONGTAKE_API_KEY", "")
        base_url = base_url or os.environ.get("LONGTAKE_API_URL") or "http://127.0.0.1:8000"
        if not _KEY.fullmatch(api_key):  # a header's error would show it
            raise ValueError(
                "api_key, or LONGTAKE_API_KEY, must be a key such as lt_…: ASCII without spaces"
            )
        if not base_url.startswith(("http://", "https://")):
            raise ValueError("base_url must begin with http:// or https://")
        self._base_url = httpx.URL(base_url)
        http = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "longtake-python/0.1.0"},
            timeout=httpx.Timeout(read_timeout, connect=connect_timeout),
            transport=transport,
        )
        self._wire = AsyncWire(http, max_retries=max_retries)
        self.batches = AsyncBatches(self._wire)
        #: Short for `batches.submit`.
        self.batch = self.batches.submit

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._base_url!r})"  # httpx hides a password

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._wire.http.aclose()

    async def submit(
        self,
        prompt: str,
        *,
        idempotency_key: str | None = None,
        app_id: str | None = None,
        **fields: Any,
    ) -> Job:
        """Submit one request; `fields` are the API's, such as `model` and `duration_seconds`.

        Give an `idempotency_key` of your own where your process may die and submit again.
        """
        body = encoded({"prompt": prompt, **fields})
        call = creating(_JOBS, body, idempotency_key=idempotency_key, app_id=app_id)
        return answered(Job.of, await self._wire.json(call))

    async def get(self, job_id: str) -> Job:
        return answered(Job.of, await self._wire.json(Call("GET", _path(job_id))))

    async def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], object] | None = None,
    ) -> Job:
        """The job once it is final, in whichever state; `timeout` is in seconds.

        A server that is away meanwhile is waited for: until the timeout, or for five minutes.
        `on_progress` is called with the job as it was found first, and with each change.

        Raises:
            WaitTimeout: it is not final in time, and goes on.
        """
        return await until_final(
            self._wire, _path(job_id), Job.of, timeout=timeout, on_progress=on_progress
        )

    async def generate(
        self,
        prompt: str,
        path: str | Path | None = None,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], object] | None = None,
        **fields: Any,
    ) -> Job:
        """Submit, wait, and download the first video if there is a `path`: the complete job.

        Whatever is raised after the submission has the job's id in a note, and each of our errors
        in `job_id`.

        Raises:
            JobFailed: it ended without a video.
            JobCancelled: somebody cancelled it.
            WaitTimeout: it is not final in `timeout` seconds, and goes on.
            OSError: nothing can be written to `path`; nothing was submitted.
        """
        if path is not None:
            await async_blocking(check_target, Path(path))
        job = await self.submit(prompt, **fields)
        with submitted(job):
            job = await self.wait(job.id, timeout=timeout, on_progress=on_progress)
            if job.status == "failed":
                raise JobFailed(job)
            if job.status == "cancelled":
                raise JobCancelled(job)
            if path is not None:
                await self.download(job, path)
            return job

    async def cancel(self, job_id: str) -> Job:
        """End the job now; a final one stays as it is."""
        return answered(Job.of, await self._wire.json(Call("POST", f"{_path(job_id)}/cancel")))

    async def retry(
        self, job_id: str, *, idempotency_key: str | None = None, app_id: str | None = None
    ) -> Job:
        """Submit a failed or cancelled job's request again, as a new job."""
        path = f"{_path(job_id)}/retry"
        call = creating(path, b"", idempotency_key=idempotency_key, app_id=app_id)
        return answered(Job.of, await self._wire.json(call))

    async def delete(self, job_id: str) -> Deleted:
        """Delete the job's prompt, pictures and videos; an unfinished one is cancelled first."""
        return answered(Deleted.of, await self._wire.json(Call("DELETE", _path(job_id))))

    def list(self, **filters: Any) -> AsyncStream[Job]:
        """Jobs, newest first, fetched page by page as needed.

        The filters are the API's: `status`, `model`, `app_id`, `batch_id`, `provider`, `since`,
        `until`, `text` (words of prompts, or an id), `after`, and `limit`, the size of a page.
        """
        return pages(self._wire, _JOBS, Job.of, filters)

    def events(self, job_id: str, *, last_event_id: str | None = None) -> AsyncStream[ServerEvent]:
        """The job's events as they come, up to the final one; a broken stream goes on."""
        return events(self._wire, f"{_path(job_id)}/events", last_event_id=last_event_id)

    async def download(
        self,
        job: Job | str,
        path: str | Path,
        *,
        index: int | None = None,
        on_progress: Callable[[int, int | None], object] | None = None,
    ) -> Path:
        """Download the first stored video, or the one at `index`; where to is returned.

        `path` is a file, or a folder in which it gets a name of its own. Until it is complete and
        its SHA-256 is right it has the suffix `.part`, and the next download goes on from there.

        Raises:
            NoVideo: it is not stored (yet, or any more).
            DownloadCorrupt: the bytes are not those that were stored.
        """
        if isinstance(job, str):
            job = await self.get(job)
        output = _stored(job, index)
        target = Path(path)
        if await async_blocking(target.is_dir):
            ending = "webm" if output.content_type == "video/webm" else "mp4"
            target /= f"{job.id}-{output.index}.{ending}"
        source = f"{_path(job.id)}/content/{output.index}"
        await download(self._wire, source, output, target, on_progress=on_progress)
        return target

    async def models(self) -> tuple[Model, ...]:
        page = await self._wire.json(Call("GET", "/v1/models"))
        return answered(Model.many, listed(page))

    async def usage(
        self,
        *,
        group_by: str = "model",
        since: str | None = None,
        until: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[Usage, ...]:
        """Jobs and cost in groups: by `model`, `app_id`, `provider`, `day` or `key`."""
        params = {"group_by": group_by, "since": since, "until": until}
        params |= {f"metadata.{name}": value for name, value in (metadata or {}).items()}
        page = await self._wire.json(Call("GET", "/v1/usage", params=params))
        return answered(Usage.many, listed(page))


def _path(job_id: str) -> str:
    return f"{_JOBS}/{quote(job_id, safe='')}"


def _stored(job: Job, index: int | None) -> Output:
    for output in job.videos:
        if index in {None, output.index}:
            return output
    which = "no stored video" if index is None else f"no stored video at index {index}"
    raise NoVideo(f"job {job.id} has {which}; its status is {job.status}")
