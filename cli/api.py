"""A client of Longtake's HTTP API for the commands; errors become CommandErrors."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from cli.errors import NotReached, Refused

#: JSON as the API returns it.
Json = dict[str, Any]

#: Response and connection timeouts, in seconds.
TIMEOUT, CONNECT_TIMEOUT = 30.0, 5.0
#: Tries of a submission without a response, and the delay between them in seconds. The
#: Idempotency-Key makes repeats return the first one's job.
TRIES, RETRY_DELAY = 3, 1.0

HOW_TO_AUTHENTICATE = " (--api-key, or LONGTAKE_API_KEY; `longtake keys create` makes one)"

GENERATIONS = "/v1/video/generations"
GATES = "/v1/gates"
DELIVERIES = "/v1/webhooks/deliveries"


class Api:
    """A client for one API and key; a context manager."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
            trust_env=False,  # ignore proxies: the API is usually local
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(
        self, body: Json, *, app_id: str | None = None, idempotency_key: str | None = None
    ) -> Json:
        """Submit a request; returns the job. Raises Refused or NotReached."""
        headers = {"X-App-ID": app_id} if app_id else {}
        return self._submit(GENERATIONS, headers, idempotency_key, json=body)

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> Json:
        """Submit a job's request again; returns the new job. Raises Refused or NotReached."""
        return self._submit(f"{GENERATIONS}/{_segment(job_id)}/retry", {}, idempotency_key)

    def job(self, job_id: str) -> Json:
        return self._ask("GET", f"{GENERATIONS}/{_segment(job_id)}")

    def jobs(self, **filters: str | int | None) -> Json:
        """One page of the list, with `data`, `has_more` and `next`."""
        given = {name: value for name, value in filters.items() if value is not None}
        return self._ask("GET", GENERATIONS, params=given)

    def cancel(self, job_id: str) -> Json:
        return self._ask("POST", f"{GENERATIONS}/{_segment(job_id)}/cancel")

    def delete(self, job_id: str) -> Json:
        return self._ask("DELETE", f"{GENERATIONS}/{_segment(job_id)}")

    def gates(self, **page: str | int | None) -> Json:
        """One page of the list, with `data`, `has_more` and `next`."""
        given = {name: value for name, value in page.items() if value is not None}
        return self._ask("GET", GATES, params=given)

    def gate(self, name: str) -> Json:
        return self._ask("GET", f"{GATES}/{quote(name, safe='')}")

    def create_gate(self, body: Json) -> Json:
        return self._ask("POST", GATES, json=body)

    def delete_gate(self, name: str) -> Json:
        return self._ask("DELETE", f"{GATES}/{quote(name, safe='')}")

    def deliveries(self, **filters: str | int | None) -> Json:
        """One page of the webhooks, with `data`, `has_more` and `next`."""
        given = {name: value for name, value in filters.items() if value is not None}
        return self._ask("GET", DELIVERIES, params=given)

    def replay(self, delivery: str) -> Json:
        return self._ask("POST", f"{DELIVERIES}/{quote(delivery, safe='')}/replay")

    def models(self) -> list[Json]:
        models: list[Json] = self._ask("GET", "/v1/models")["data"]
        return models

    def download(self, url: str, to: Path) -> int:
        """Download a video to `to`, completely or not at all; returns its size in bytes."""
        partial = to.with_name(f"{to.name}.part")
        size = 0
        with self._errors(), self._client.stream("GET", url) as answer:
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            with partial.open("wb") as file:
                for chunk in answer.iter_bytes():
                    size += file.write(chunk)
        partial.replace(to)
        return size

    def _submit(
        self, path: str, headers: Mapping[str, str], idempotency_key: str | None, **more: Any
    ) -> Json:
        """Ask for a new job, up to `TRIES` times until there is an answer."""
        sent = {"Idempotency-Key": idempotency_key or f"cli-{uuid4()}", **headers}
        for _ in range(TRIES - 1):
            try:
                return self._ask("POST", path, headers=sent, **more)
            except NotReached:
                time.sleep(RETRY_DELAY)
        return self._ask("POST", path, headers=sent, **more)

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
            raise not_reached(self.url, error) from error


def not_reached(url: str, error: Exception) -> NotReached:
    return NotReached(
        f"no response from {url} ({type(error).__name__}). Is the API running? "
        "Start a local stack with `longtake up --simulate`, or set LONGTAKE_API_URL."
    )


def _segment(job_id: str) -> str:
    """Validate a job id as one path segment."""
    if not job_id or not all(letter.isalnum() or letter in "_-" for letter in job_id):
        raise Refused(f"{job_id!r} is not a job id (expected job_vid_…)")
    return job_id


def _refusal(answer: httpx.Response) -> Refused | NotReached:
    try:
        body: Mapping[str, Any] = answer.json()
        message = str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return NotReached(f"{answer.request.url.host} answered HTTP {answer.status_code}")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        message += HOW_TO_AUTHENTICATE
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and not _is_ours(body):
        return NotReached(message)
    return Refused(message)


def _is_ours(body: Mapping[str, Any]) -> bool:
    """Whether a 503 is a refusal that names the variable to set; others are transient."""
    return bool(body["error"].get("type") == "model_unavailable")
