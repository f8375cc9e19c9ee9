"""Layer's answers: LayerResponse of @layer-ai/sdk 2.5.15 and the server's route /v3/video.

The words are those of FinishReason: what an answer without videos can say of its end.
"""

from typing import Any

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented


def answer(word: str) -> dict[str, Any]:
    shown = {"id": ID, "model": "runway-gen3", "latencyMs": 45234, "finishReason": word}
    if word == "completed":
        return shown | {"videos": [{"url": LINK, "duration": 5}], "cost": 0.5}
    return shown | {"videos": []}


LAYER = Documented(
    words={"completed": Phase.SUCCEEDED, "filtered": Phase.FAILED, "error": Phase.FAILED},
    words_of_sdk=frozenset({"completed", "filtered", "error"}),
    answer=answer,
    needed={"completed": ("videos",), "filtered": ("videos", "finishReason")},
    faults={"filtered": Fault.MODERATED, "error": Fault.UNKNOWN},
    failed=lambda reason: answer(str(reason)),
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        404: Fault.GONE,
        429: Fault.RATE,
        502: Fault.TRANSIENT,
        504: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 404, 429}),
    error=lambda words: {"error": "bad_request", "message": words},
    accepted=answer("completed"),
    made=lambda videos: answer("completed") | {"videos": videos},
    has_words=False,
)
