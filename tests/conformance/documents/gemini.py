"""The Interactions API's answers: google-genai 3.4.0, and ai.google.dev/gemini-api/docs/omni."""

from typing import Any, get_args

from google.genai.interactions import Interaction

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented
from tests.conformance.documents.veo import CODES, ERRORS, MODERATED, REFUSALS, rpc_error


def interaction(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ID,
        "object": "interaction",
        "model": "gemini-omni-1.1-flash",
        "created": "2026-11-21T00:00:00Z",
        "status": word,
    }
    return shown | {"steps": output(LINK)} if word == "completed" else shown


def output(uri: object) -> list[dict[str, Any]]:
    video = {"type": "video", "uri": uri, "mime_type": "video/mp4"}
    said = {"type": "text", "text": "Here it is."}
    return [
        {"type": "thought", "signature": "x"},
        {"type": "model_output", "content": [said, video]},
    ]


def failed(given: str | None) -> dict[str, Any]:
    """By its status, by an error of its step, or by the words of the interaction's errors."""
    if given == "budget_exceeded":
        return interaction(given)
    if given in CODES:
        step = {"type": "model_output", "error": rpc_error(given)}
        return interaction("failed") | {"steps": [step]}
    errors = [{"code": "https://example.com/e", "message": given}] if given else None
    return interaction("failed") | {"errors": errors}


def statuses_of_sdk() -> frozenset[str]:
    known_or_not = get_args(Interaction.model_fields["status"].annotation)
    return frozenset(get_args(known_or_not[0]))


GEMINI = Documented(
    words={
        "queued": Phase.QUEUED,
        "in_progress": Phase.RUNNING,
        "completed": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
        "cancelled": Phase.CANCELLED,
        "incomplete": Phase.FAILED,
        "budget_exceeded": Phase.FAILED,
        "requires_action": Phase.FAILED,
        "requires_continuation": Phase.FAILED,
    },
    words_of_sdk=statuses_of_sdk(),
    answer=interaction,
    needed={"in_progress": ("status",), "completed": ("status", "steps")},
    faults={
        **{name: fault for name, (_, fault) in CODES.items()},
        "budget_exceeded": Fault.QUOTA,
        MODERATED: Fault.MODERATED,
        "It failed.": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=failed,
    errors=ERRORS,
    refusals=REFUSALS,
    error=lambda words: {"error": {"code": "invalid_request", "message": words}},
    accepted=interaction("in_progress"),
    made=lambda uri: interaction("completed") | {"steps": output(uri)},
)
