"""What the API counts of its own requests: by the route's template, never by what it was asked."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest

#: Others are one, as in OpenTelemetry's conventions for HTTP: a client may send any word.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER: Final = "_OTHER"
#: Of a request that no route took.
_NO_ROUTE: Final = ""
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, of which nobody asks


class HttpNumbers:
    """One process's requests."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "longtake_http_requests",
            "Requests that were answered, by method, route and class of status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "longtake_http_request_duration_seconds",
            "From a request's headers to the end of its answer, by method and route.",
            ("method", "route"),
            registry=self._registry,
            buckets=_SECONDS,
        )

    def note(self, *, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one request; a status of 0, of an answer that never began, counts as 5xx."""
        method = method if method in _METHODS else _OTHER
        where = route or _NO_ROUTE
        self._requests.labels(method, where, _class(status)).inc()
        self._seconds.labels(method, where).observe(seconds)

    def text(self) -> bytes:
        """The counts in Prometheus' text format."""
        return generate_latest(self._registry)


def _class(status: int) -> str:
    return f"{status // 100 or 5}xx"
