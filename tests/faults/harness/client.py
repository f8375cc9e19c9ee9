"""A backend app that lives through our outages: it repeats what was not answered, by its key."""

import time
from types import TracebackType
from typing import Any, Self

import httpx

#: How long it goes on asking, and how long it waits in between, in seconds.
PATIENCE, PAUSE = 180.0, 0.2

Json = dict[str, Any]


class Client:
    """The API's caller."""

    def __init__(self, url: str, *, key: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=20,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def submit(self, body: Json, *, key: str) -> str:
        """The id of a job that was answered with 202; `key` makes repeats harmless."""
        job = self.ask(body, key=key)
        assert job is not None, "refused: no budget has room for it"
        return job

    def ask(self, body: Json, *, key: str, app: str | None = None) -> str | None:
        """As `submit`, for an app; None if a budget has no room for the job (402)."""
        headers = {"Idempotency-Key": key} | ({"X-App-ID": app} if app else {})
        answered = self._insist("POST", "/v1/video/generations", body, headers, allowed=402)
        job: str | None = answered.get("id")
        return job

    def submit_batch(self, body: str, *, key: str) -> str:
        """The id of a batch of JSON Lines that was answered with 202."""
        batch: str = self._insist("POST", "/v1/batches", body, {"Idempotency-Key": key})["id"]
        return batch

    def cancel_batch(self, batch: str) -> Json:
        return self._insist("POST", f"/v1/batches/{batch}/cancel")

    def cancel(self, job: str) -> Json:
        return self._insist("POST", f"/v1/video/generations/{job}/cancel")

    def delete(self, job: str) -> Json:
        return self._insist("DELETE", f"/v1/video/generations/{job}")

    def get(self, job: str) -> Json:
        return self._insist("GET", f"/v1/video/generations/{job}")

    def create_gate(self, gate: Json) -> Json:
        return self._insist("POST", "/v1/gates", gate)

    def replay(self, delivery: str) -> Json:
        return self._insist("POST", f"/v1/webhooks/deliveries/{delivery}/replay")

    def _insist(
        self,
        method: str,
        path: str,
        body: Json | str | None = None,
        headers: Json | None = None,
        *,
        allowed: int = 200,
    ) -> Json:
        """The answer to a request that is repeated while nobody answers, or with a 503.

        It is a success, or has the `allowed` status.
        """
        sent: Json = {"content": body} if isinstance(body, str) else {"json": body}
        until = time.monotonic() + PATIENCE
        while True:
            trouble: object
            try:
                answer = self._http.request(method, path, headers=headers, **sent)
            except httpx.TransportError as error:
                trouble = error
            else:
                if answer.is_success or answer.status_code == allowed:
                    told: Json = answer.json()
                    return told
                trouble = answer.text
                assert answer.status_code >= 500, f"{method} {path}: {answer.text}"
            assert time.monotonic() < until, f"{method} {path}: {trouble}"
            time.sleep(PAUSE)
