"""Veo's answers, in the envelopes of both its APIs: operations without words, google.rpc errors.

Source: google-genai 3.4.0 (converters of GenerateVideosOperation), google/rpc/code.proto,
docs.cloud.google.com and ai.google.dev on Veo.
"""

from collections.abc import Mapping
from typing import Any

from models.failure import Fault
from providers.base import Phase, Video
from tests.conformance.documented import ID, LINK, Documented

NAME = "projects/p-1/locations/l/publishers/google/models/veo-3.1-generate-001/operations/"
GEMINI_NAME = "models/veo-3.1-generate-preview/operations/"

FILTERED = {
    "raiMediaFilteredCount": 1,
    "raiMediaFilteredReasons": ["The output violates the usage guidelines. Support codes: 580"],
}

#: google.rpc.Code, whose names are not on the wire.
CODES = {
    "CANCELLED": (1, Fault.GONE),
    "UNKNOWN": (2, Fault.UNKNOWN),
    "INVALID_ARGUMENT": (3, Fault.REFUSED),
    "DEADLINE_EXCEEDED": (4, Fault.TRANSIENT),
    "NOT_FOUND": (5, Fault.GONE),
    "ALREADY_EXISTS": (6, Fault.REFUSED),
    "PERMISSION_DENIED": (7, Fault.AUTH),
    "RESOURCE_EXHAUSTED": (8, Fault.RATE),
    "FAILED_PRECONDITION": (9, Fault.QUOTA),
    "ABORTED": (10, Fault.TRANSIENT),
    "OUT_OF_RANGE": (11, Fault.REFUSED),
    "UNIMPLEMENTED": (12, Fault.REFUSED),
    "INTERNAL": (13, Fault.TRANSIENT),
    "UNAVAILABLE": (14, Fault.TRANSIENT),
    "DATA_LOSS": (15, Fault.TRANSIENT),
    "UNAUTHENTICATED": (16, Fault.AUTH),
}
MODERATED = "The prompt could not be submitted. Support codes: 15236754"


def rpc_error(given: str | None) -> dict[str, Any]:
    """A google.rpc.Status of that name, or one that has only the words."""
    code, _ = CODES.get(given or "", (99, None))
    return {"code": code, "message": given if given == MODERATED else "It failed."}


def ended(prefix: str, **fields: object) -> dict[str, Any]:
    return {"name": prefix + ID, "done": True, **fields}


#: The operation's three states, and what a safety filter leaves of the third.
WORDS: Mapping[str, Phase] = {
    "running": Phase.RUNNING,
    "not done": Phase.RUNNING,
    "done": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "filtered": Phase.FAILED,
}

ERRORS: Mapping[int, Fault] = {
    400: Fault.REFUSED,
    401: Fault.AUTH,
    403: Fault.AUTH,
    404: Fault.GONE,
    429: Fault.RATE,
    500: Fault.TRANSIENT,
    503: Fault.TRANSIENT,
    504: Fault.TRANSIENT,
}
REFUSALS = frozenset({400, 401, 403, 404, 429})


def in_vertex(videos: object) -> dict[str, Any]:
    return {"videos": [{"bytesBase64Encoded": videos, "mimeType": "video/mp4"}]}


def in_gemini(uri: object) -> dict[str, Any]:
    return {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]}}


def answer(
    word: str, *, prefix: str, made: dict[str, Any], filtered: dict[str, Any]
) -> dict[str, Any]:
    match word:
        case "running":
            return {"name": prefix + ID, "metadata": {"@type": "type.googleapis.com/x"}}
        case "not done":
            return {"name": prefix + ID, "done": False}
        case "done":
            return ended(prefix, response=made)
        case "failed":
            return ended(prefix, error=rpc_error("INTERNAL"))
        case _:
            return ended(prefix, response=filtered)


def error(words: str) -> dict[str, Any]:
    return {"error": {"message": words, "details": []}}


FAULTS: Mapping[str | None, Fault] = {
    **{name: fault for name, (_, fault) in CODES.items()},
    MODERATED: Fault.MODERATED,
    None: Fault.UNKNOWN,
}

VEO = Documented(
    words=WORDS,
    words_of_sdk=frozenset(WORDS),
    has_words=False,
    answer=lambda word: answer(word, prefix=NAME, made=in_vertex("TVA0"), filtered=FILTERED),
    needed={"running": ("name",), "done": ("name", "response")},
    faults=FAULTS,
    failed=lambda given: ended(NAME, error=rpc_error(given)),
    errors=ERRORS,
    refusals=REFUSALS,
    error=error,
    accepted={"name": NAME + ID},
    made=lambda output: ended(NAME, response=in_vertex(output)),
    video=Video(content=b"MP4"),
    id_field="name",
    id_prefix=NAME,
    missing={"error": {"code": 404, "message": "Operation not found.", "status": "NOT_FOUND"}},
)

GEMINI_VEO = Documented(
    words=WORDS,
    words_of_sdk=frozenset(WORDS),
    has_words=False,
    answer=lambda word: answer(
        word,
        prefix=GEMINI_NAME,
        made=in_gemini(LINK),
        filtered={"generateVideoResponse": FILTERED},
    ),
    needed={"running": ("name",), "done": ("name", "response")},
    faults=FAULTS,
    failed=lambda given: ended(GEMINI_NAME, error=rpc_error(given)),
    errors=ERRORS,
    refusals=REFUSALS,
    error=error,
    accepted={"name": GEMINI_NAME + ID},
    made=lambda output: ended(GEMINI_NAME, response=in_gemini(output)),
    id_field="name",
    id_prefix=GEMINI_NAME,
    missing={"error": {"code": 404, "message": "Operation not found.", "status": "NOT_FOUND"}},
)
