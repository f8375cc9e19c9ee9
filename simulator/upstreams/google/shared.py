"""Shared by the simulated Google APIs: errors, the API key, and files that redirect.

Source: google.rpc.Status, google-genai 3.4.0, and responses documented at ai.google.dev.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import Operation
from simulator.upstream import Endpoint, Refusal, Upstream, reply

#: Retry-After of a refusal for too many operations, in seconds.
RETRY_AFTER: Final = 2

STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPES: Final = "type.googleapis.com/google.rpc"
_KEY: Final = re.compile(r"[\w-]{8,}")


class GoogleUpstream(Upstream):
    """Errors in Google's format; operations beyond the account's cap are refused with 429."""

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        """`{"error": {code, message, status, details}}`, with Retry-After also as RetryInfo."""
        error: dict[str, Any] = {
            "code": refusal.status,
            "message": refusal.message,
            "status": STATUSES.get(refusal.status, "UNKNOWN"),
        }
        details: list[Mapping[str, object]] = list(refusal.issues)
        if isinstance(refusal.retry_after, int | float):
            details.append(
                {"@type": f"{_TYPES}.RetryInfo", "retryDelay": f"{refusal.retry_after}s"}
            )
        if details:
            error["details"] = details
        return reply({"error": error}, status=refusal.status, headers=refusal.headers)

    def check_room(self, lane: str) -> None:
        """Raise Refusal if the account's cap is reached."""
        self.check_cap(
            lane,
            Refusal(
                429, "Resource has been exhausted (e.g. check quota).", retry_after=RETRY_AFTER
            ),
        )


class GeminiUpstream(GoogleUpstream):
    """Requires the API key; results are API files that redirect to the content."""

    #: The API version's path under the prefix, such as "/v1".
    version: ClassVar[str] = ""
    #: "Files are stored for 48 hours."
    link_lifetime: ClassVar[timedelta] = timedelta(hours=48)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "GOOGLE_GEMINI_BASE_URL": f"{origin}/gemini",
            "GEMINI_API_KEY": "AIza-simulator-key",
        }

    def authorize(self, request: web.Request) -> None:
        key = request.headers.get("x-goog-api-key")
        if key is None:
            raise Refusal(403, "Method doesn't allow unregistered callers.")
        if not _KEY.fullmatch(key):
            reason = {"@type": f"{_TYPES}.ErrorInfo", "reason": "API_KEY_INVALID"}
            raise Refusal(400, "API key not valid. Please pass a valid API key.", issues=[reason])

    def file_endpoints(self) -> tuple[Endpoint, ...]:
        """The file, which requires the key, and the URL it redirects to, which does not."""
        path = f"{self.version}/files/{{file:[a-z0-9]+}}:download"
        return (
            Endpoint("GET", path, self.file, Step.DOWNLOAD),
            Endpoint("GET", "/download/{file}", self.download, None, public=True),
        )

    async def file(self, request: web.Request) -> web.Response:
        """302 to a signed URL, for `?alt=media`."""
        operation = self.world.operations.find(self.name, self.operation_id(request))
        if operation is None:
            raise Refusal(404, "The file does not exist.")
        if request.query.get("alt") != "media":
            raise Refusal(400, "Only alt=media is supported.")
        return web.Response(status=302, headers={"Location": self.link(request, operation)})

    def link_from(self, origin: str, operation: Operation) -> str:
        path = f"{self.prefix}/download/{self.file_of(operation)}"
        return self.world.links.mint(path, origin=origin, lifetime=self.link_lifetime)

    def file_uri(self, origin: str, operation: Operation) -> str:
        """The result's URL in responses."""
        path = f"{self.prefix}{self.version}/files/{self.file_of(operation)}"
        return f"{origin}{path}:download?alt=media"

    def file_of(self, operation: Operation) -> str:
        """The file id: lower-case letters and digits, as the SDK requires."""
        return operation.id.rpartition("/")[2]


def new_id() -> str:
    return uuid.uuid4().hex


def refuse_first(complaints: Iterator[str]) -> None:
    """Raise Refusal with the first error, as Google does for INVALID_ARGUMENT."""
    if complaint := next(complaints, None):
        raise Refusal(400, complaint)
