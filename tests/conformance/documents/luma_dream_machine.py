"""The Dream Machine API's answers: lumaai 1.21.0; the words of its failures are not documented."""

from typing import Any, get_args

from lumaai.types import Generation

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented


def generation(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ID,
        "generation_type": "video",
        "state": word,
        "failure_reason": None,
        "created_at": "2026-11-21T00:00:00Z",
        "assets": None,
        "model": "ray-2",
        "request": {"model": "ray-2", "prompt": "a cat"},
    }
    match word:
        case "completed":
            return shown | {"assets": {"video": LINK}}
        case "failed":
            return shown | {"failure_reason": "It failed."}
        case _:
            return shown


def states_of_sdk() -> frozenset[str]:
    optional = Generation.model_fields["state"].annotation
    literal = next(one for one in get_args(optional) if one is not type(None))
    return frozenset(get_args(literal))


LUMA_DREAM_MACHINE = Documented(
    words={
        "queued": Phase.QUEUED,
        "dreaming": Phase.RUNNING,
        "completed": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=states_of_sdk(),
    answer=generation,
    needed={"queued": ("state",), "completed": ("state", "assets")},
    faults={
        "The prompt failed content moderation.": Fault.MODERATED,
        "It failed.": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=lambda reason: generation("failed") | {"failure_reason": reason},
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        403: Fault.AUTH,
        404: Fault.GONE,
        422: Fault.REFUSED,
        429: Fault.RATE,
        500: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 403, 404, 422, 429}),
    error=lambda words: {"detail": words},
    accepted=generation("queued"),
    made=lambda output: generation("completed") | {"assets": {"video": output}},
)
