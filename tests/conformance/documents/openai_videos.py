"""The OpenAI Videos API's answers: openai 3.52.0; codes of failures from OpenAI's error guide."""

from typing import Any, get_args

from openai.types import Video as SdkVideo

from models.failure import Fault
from providers.base import Phase, Video
from tests.conformance.documented import ID, Documented


def video(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ID,
        "object": "video",
        "model": "sora-2",
        "status": word,
        "progress": 45,
        "created_at": 1760000000,
        "seconds": "4",
        "size": "1280x720",
        "error": None,
    }
    match word:
        case "completed":
            ended = {"completed_at": 1760000060, "expires_at": 1760086460}
            return shown | {"progress": 100, **ended}
        case "failed":
            return shown | {"error": {"code": "video_generation_failed", "message": "It failed."}}
        case _:
            return shown


def failed(code: str | None) -> dict[str, Any]:
    error = None if code is None else {"code": code, "message": "no luck"}
    return video("failed") | {"error": error}


def words_of_sdk() -> frozenset[str]:
    return frozenset(get_args(SdkVideo.model_fields["status"].annotation))


OPENAI_VIDEOS = Documented(
    words={
        "queued": Phase.QUEUED,
        "in_progress": Phase.RUNNING,
        "completed": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=words_of_sdk(),
    answer=video,
    needed={"queued": ("status",), "completed": ("status",)},
    faults={
        "moderation_blocked": Fault.MODERATED,
        "content_policy_violation": Fault.MODERATED,
        "insufficient_quota": Fault.QUOTA,
        "video_generation_failed": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=failed,
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        403: Fault.AUTH,
        404: Fault.GONE,
        429: Fault.RATE,
        500: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 403, 404, 429}),
    error=lambda words: {
        "error": {"message": words, "type": "an_error", "param": None, "code": None}
    },
    accepted=video("queued"),
    made=None,
    video=Video(url=f"/videos/{ID}/content"),
)
