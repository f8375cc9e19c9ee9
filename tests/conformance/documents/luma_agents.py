"""The Luma Agents API's answers: luma-agents 0.5.0 and docs.agents.lumalabs.ai."""

from typing import Any, get_args

from luma_agents.types import Generation

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented


def luma_generation(word: str) -> dict[str, Any]:
    generation: dict[str, Any] = {"id": ID, "model": "ray-3.2", "type": "video", "state": word}
    match word:
        case "completed":
            return generation | {"output": [{"type": "video", "url": LINK}]}
        case "failed":
            reason = {"failure_code": "generation_failed", "failure_reason": "It failed."}
            return generation | reason
        case _:
            return generation | {"failure_code": None, "failure_reason": None, "output": []}


LUMA_AGENTS = Documented(
    words={
        "queued": Phase.QUEUED,
        "processing": Phase.RUNNING,
        "completed": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=frozenset(get_args(Generation.model_fields["state"].annotation)),
    answer=luma_generation,
    needed={"queued": ("state",), "completed": ("state", "output")},
    faults={
        "content_moderated": Fault.MODERATED,
        "generation_failed": Fault.TRANSIENT,
        "output_not_found": Fault.TRANSIENT,
        "budget_exhausted": Fault.QUOTA,
        "image_too_large": Fault.REFUSED,
        "unsupported_format": Fault.REFUSED,
        "corrupt_input": Fault.REFUSED,
        "invalid_request": Fault.REFUSED,
        "rate_limited": Fault.RATE,
        "brand_new_code": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=lambda code: luma_generation("failed") | {"failure_code": code},
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        402: Fault.QUOTA,
        403: Fault.AUTH,
        413: Fault.REFUSED,
        422: Fault.REFUSED,
        429: Fault.RATE,
        502: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 402, 403, 413, 422, 429, 503}),
    error=lambda words: {"detail": words},
    accepted=luma_generation("queued"),
    made=lambda output: luma_generation("completed") | {"output": output},
)
