"""The batches of an API: many requests that are submitted together."""

from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import quote

from longtake._async.following import events, until_final
from longtake._async.paging import pages, result_lines
from longtake._async.wire import AsyncWire
from longtake.bodies import Body, Document, encoded, is_document
from longtake.calls import Call, creating
from longtake.results import Batch, Estimate, LineResult, ServerEvent
from longtake.seam import AsyncRequests, AsyncStream, async_blocking, async_each
from longtake.streams import answered

_BATCHES = "/v1/batches"
#: Seconds in which 100,000 lines are accepted.
_ACCEPTED_WITHIN = 300.0


class AsyncBatches:
    """Found as the client's `batches`."""

    def __init__(self, wire: AsyncWire) -> None:
        self._wire = wire

    async def submit(
        self,
        requests: AsyncRequests | Document,
        *,
        idempotency_key: str | None = None,
        app_id: str | None = None,
        **options: Any,
    ) -> Batch:
        """Submit a batch: all its lines are accepted, or none.

        `requests` are the fields of one request each, with a `custom_id` if you like; or a document
        as the API takes it, such as JSON lines: the path of a file, an open binary file, or bytes.
        Options are those of the API: `defaults`, `gate`, `max_cost_usd`, `on_invalid="skip"`, …
        """
        return answered(Batch.of, await self._post(requests, options, idempotency_key, app_id))

    async def estimate(
        self, requests: AsyncRequests | Document, *, app_id: str | None = None, **options: Any
    ) -> Estimate:
        """Check a batch as `submit` would, and estimate its cost; nothing is accepted."""
        options = {**options, "dry_run": True}
        return answered(Estimate.of, await self._post(requests, options, None, app_id))

    async def _post(
        self,
        requests: AsyncRequests | Document,
        options: dict[str, Any],
        idempotency_key: str | None,
        app_id: str | None,
    ) -> Any:
        with closing(await _body(requests, options)) as body:
            call = creating(
                _BATCHES,
                body,
                idempotency_key=idempotency_key,
                app_id=app_id,
                read_timeout=_ACCEPTED_WITHIN,
            )
            return await self._wire.json(call)

    async def get(self, batch_id: str) -> Batch:
        return answered(Batch.of, await self._wire.json(Call("GET", _path(batch_id))))

    def list(self, **filters: Any) -> AsyncStream[Batch]:
        """Batches, newest first; filters are `status`, `app_id`, `after` and `limit` (a page's)."""
        return pages(self._wire, _BATCHES, Batch.of, filters)

    async def cancel(self, batch_id: str) -> Batch:
        """Cancel what has not ended yet; what is complete stays."""
        return answered(Batch.of, await self._wire.json(Call("POST", f"{_path(batch_id)}/cancel")))

    async def retry(
        self,
        batch_id: str,
        *,
        include_cancelled: bool = False,
        idempotency_key: str | None = None,
        app_id: str | None = None,
    ) -> Batch:
        """Submit the failed lines again, as a new batch whose `retry_of` names this one."""
        body = encoded({"include_cancelled": include_cancelled})
        path = f"{_path(batch_id)}/retry"
        call = creating(path, body, idempotency_key=idempotency_key, app_id=app_id)
        return answered(Batch.of, await self._wire.json(call))

    async def wait(
        self,
        batch_id: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Batch], object] | None = None,
    ) -> Batch:
        """The batch once it is final; `timeout` is in seconds.

        Raises:
            WaitTimeout: it is not final in time, and goes on.
        """
        return await until_final(
            self._wire, _path(batch_id), Batch.of, timeout=timeout, on_progress=on_progress
        )

    def results(
        self, batch_id: str, *, status: str | None = None, after: int | None = None
    ) -> AsyncStream[LineResult]:
        """The lines in input order, at any time; only those of a status, or after a line."""
        params = {"status": status, "after": after}
        return result_lines(self._wire, f"{_path(batch_id)}/results", params)

    def events(
        self, batch_id: str, *, last_event_id: str | None = None
    ) -> AsyncStream[ServerEvent]:
        """`batch` as it is now, `progress` whenever its counts change, and at the end `final`."""
        return events(self._wire, f"{_path(batch_id)}/events", last_event_id=last_event_id)


def _path(batch_id: str) -> str:
    return f"{_BATCHES}/{quote(batch_id, safe='')}"


async def _body(requests: Any, options: dict[str, Any]) -> Body:
    """The document, or the requests as JSON lines, which are gone through once."""
    if isinstance(requests, str):
        raise TypeError("a path must be a Path, and a document must be bytes")
    if is_document(requests):
        return await async_blocking(Body.of, requests, options)
    body = Body.spool(options)
    try:
        async for request in async_each(requests):
            body.add(request)
    except BaseException:
        body.close()
        raise
    return body
