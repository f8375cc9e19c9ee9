"""How the OpenAI Videos API shows errors: `{"error": {"message", "type", "param", "code"}}`.

Sources: developers.openai.com, error codes; what openai 3.52.0 repeats.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from api.answers import answer
from api.errors import STATUS
from models.failure import RequestRefused, not_found

#: Fields of the native request, by their names here.
_NAMES: Final[Mapping[str, str]] = {
    "duration_seconds": "seconds",
    "image": "input_reference",
}
#: Status, type and code where they don't follow from the native ones.
_SHOWN: Final[Mapping[str, tuple[HTTPStatus, str, str]]] = {
    "authentication_error": (
        HTTPStatus.UNAUTHORIZED,
        "invalid_request_error",
        "invalid_api_key",
    ),
    "insufficient_balance": (
        HTTPStatus.TOO_MANY_REQUESTS,
        "insufficient_quota",
        "insufficient_quota",
    ),
    "payload_too_large": (
        HTTPStatus.BAD_REQUEST,
        "invalid_request_error",
        "payload_too_large",
    ),
    "rate_limited": (
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limit_error",
        "rate_limit_exceeded",
    ),
}
#: The SDK repeats 429 and 5xx, also where a repeat can't succeed.
_NOT_AGAIN: Final = frozenset({"insufficient_balance", "model_unavailable"})


class OpenAIErrors:
    """OpenAI's envelope for every refusal, with its codes where it has one."""

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:  # noqa: ARG002 - in the header X-Request-ID
        status, kind, code = _SHOWN.get(refusal.type) or _usual(refusal)
        name = _NAMES.get(refusal.param or "", refusal.param)
        error = {"message": _message(refusal), "type": kind, "param": name, "code": code}
        headers = {"x-should-retry": "false"} if refusal.type in _NOT_AGAIN else {}
        return answer({"error": error}, status=status, headers=headers)


def _usual(refusal: RequestRefused) -> tuple[HTTPStatus, str, str]:
    status = STATUS[refusal.type]
    is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    code = "invalid_value" if refusal.code == "invalid_request" else refusal.code
    return status, "server_error" if is_ours else "invalid_request_error", code


def _message(refusal: RequestRefused) -> str:
    message, param = refusal.message, refusal.param or ""
    if refusal.code == "job_deleted" or message == not_found().message:
        return "Video not found"
    if refusal.code == "video_not_stored":
        return "the video has no content; GET /v1/videos/{video_id} tells its status"
    if param in _NAMES and message.startswith(param):
        return _NAMES[param] + message.removeprefix(param)
    return message
