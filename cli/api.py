"""Longtake's HTTP API as the commands use it; its refusals and absences as errors in words."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx

from cli.errors import NotReached, Refused

#: The JSON of one job, model or the like, in the API's own shape.
Json = dict[str, Any]

#: Seconds that one answer may take, and a connection.
PATIENCE, CONNECT_PATIENCE = 30.0, 5.0
#: How often a submission is repeated when no answer came, and the wait between, in seconds. Its
#: Idempotency-Key makes a repeat find the first one's job.
TRIES, BETWEEN = 3, 1.0

GENERATIONS = "/v1/video/generations"


class Api:
    """One API and one key; a context manager."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(PATIENCE, connect=CONNECT_PATIENCE),
            trust_env=False,  # a proxy between a machine and itself helps nobody
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(
        self, body: Json, *, app_id: str | None = None, idempotency_key: str | None = None
    ) -> Json:
        """The job that a request became; raises Refused or NotReached."""
        headers = {"Idempotency-Key": idempotency_key or f"cli-{uuid4()}"}
        if app_id:
            headers["X-App-ID"] = app_id
        for _ in range(TRIES - 1):
            try:
                return self._ask("POST", GENERATIONS, json=body, headers=headers)
            except NotReached:
                time.sleep(BETWEEN)
        return self._ask("POST", GENERATIONS, json=body, headers=headers)

    def job(self, job_id: str) -> Json:
        return self._ask("GET", f"{GENERATIONS}/{_segment(job_id)}")

    def jobs(self, **filters: str | int | None) -> Json:
        """One page of the list, with `data`, `has_more` and `next`."""
        given = {name: value for name, value in filters.items() if value is not None}
        return self._ask("GET", GENERATIONS, params=given)

    def cancel(self, job_id: str) -> Json:
        return self._ask("POST", f"{GENERATIONS}/{_segment(job_id)}/cancel")

    def models(self) -> list[Json]:
        models: list[Json] = self._ask("GET", "/v1/models")["data"]
        return models

    def download(self, url: str, to: Path) -> int:
        """Brings a finished video to `to`, whole or not at all; its size in bytes."""
        half = to.with_name(f"{to.name}.part")
        size = 0
        with self._errors(), self._client.stream("GET", url) as answer:
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            with half.open("wb") as file:
                for chunk in answer.iter_bytes():
                    size += file.write(chunk)
        half.replace(to)
        return size

    def _ask(self, method: str, path: str, **more: Any) -> Json:
        with self._errors():
            answer = self._client.request(method, path, **more)
        if not answer.is_success:
            raise _refusal(answer)
        body: Json = answer.json()
        return body

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.RequestError as error:
            raise NotReached(
                f"no answer from {self.url} ({type(error).__name__}). Is the API running? "
                "Start a local stack with `longtake up --simulate`, or set LONGTAKE_API_URL."
            ) from error


def _segment(job_id: str) -> str:
    """A job's id as one part of a path, whatever was typed."""
    if not job_id or not all(letter.isalnum() or letter in "_-" for letter in job_id):
        raise Refused(f"{job_id!r} is not a job id: they look like job_vid_…")
    return job_id


def _refusal(answer: httpx.Response) -> Refused | NotReached:
    try:
        body: Mapping[str, Any] = answer.json()
        message = str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return NotReached(f"{answer.request.url.host} answered HTTP {answer.status_code}")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        message += " (--api-key, or LONGTAKE_API_KEY; `longtake keys create` makes one)"
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and not _is_ours(body):
        return NotReached(message)
    return Refused(message)


def _is_ours(body: Mapping[str, Any]) -> bool:
    """A 503 that says which variable to set is a refusal; others pass."""
    return bool(body["error"].get("type") == "model_unavailable")
