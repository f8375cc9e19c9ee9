"""The OpenAI Videos API, as openai 3.52.0 speaks it: OpenAI's own is gone, gateways still have it.

OpenAI ended the API with its models on 2026-09-24 (developers.openai.com, deprecations), so there
is an account only where `OPENAI_BASE_URL` names a gateway that serves the same contract.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures, gateway
from providers.base import (
    NOT_FOUND,
    Accepted,
    Ask,
    Call,
    Capabilities,
    Flow,
    Phase,
    Provider,
    Update,
    Video,
)
from transport.base import Part, Response

#: Ours: the SDK allows 600 seconds, in which nobody would know of a lost answer. In seconds.
SUBMIT_TIMEOUT: Final = 60.0
#: What a gateway that follows the API says of the next look, in milliseconds.
POLL_AFTER: Final = "openai-poll-after-ms"
LONGEST_POLL_AFTER: Final = 60.0

#: Every status of Video in openai 3.52.0.
PHASES: Final[Mapping[str, Phase]] = {
    "queued": Phase.QUEUED,
    "in_progress": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

#: Codes of errors that the status does not tell apart: developers.openai.com, error codes; the
#: words of moderation are those of Sora and of the image API.
FAULTS: Final[Mapping[str, Fault]] = {
    "moderation_blocked": Fault.MODERATED,
    "content_policy_violation": Fault.MODERATED,
    "insufficient_quota": Fault.QUOTA,  # 429, as a rate limit
    "billing_hard_limit_reached": Fault.QUOTA,  # 400
}


class OpenaiVideos(Provider):
    """Text and a first frame to video, as multipart; the finished file needs the key as well."""

    name: ClassVar[str] = "openai_videos"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("OPENAI_API_KEY",),)
    base_variable: ClassVar[str] = "OPENAI_BASE_URL"
    default_base: ClassVar[str] = "https://api.openai.com/v1"
    needs_base: ClassVar[bool] = True
    capabilities: ClassVar[Capabilities] = Capabilities(
        progress=True,
        cancel=True,
        inline_pictures=True,
        result_needs_key=True,
        sources={
            "cancel": "DELETE /videos/{id}, the only verb that ends one; openai 3.52.0",
            "cancelled_costs": "unverified: no document says that deleting stops the charge",
            "inline_pictures": "input_reference is a file; openai 3.52.0",
            "look_up": "no external id; the listing (openai 3.52.0) has prompts, nothing of ours",
            "needs_base": "developers.openai.com, deprecations: the API ended on 2026-09-24",
            "poll_floor": "ours; openai 3.52.0 waits a second, or as the answer's header says",
            "refusals": "developers.openai.com, error codes: 4xx are errors of the request",
            "result_lives": "expires_at, where a gateway says it; openai 3.52.0",
            "result_needs_key": "GET /videos/{id}/content; openai 3.52.0",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /videos, multipart even without a picture."""
        response = yield Call(
            method="POST", path="/videos", form=_form(ask), paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /videos/{id}; a deleted one is 404 and so missing from the result."""
        updates = {}
        for operation_id in operation_ids:
            path = _path(operation_id)
            response = yield Call(method="GET", path=path, accept=frozenset({NOT_FOUND}))
            if response.status != NOT_FOUND:
                updates[operation_id] = _update(operation_id, response)
        return updates

    def cancel(self, operation_id: str) -> Flow[None]:
        """DELETE /videos/{id}, or 404 for one that is already deleted."""
        yield Call(method="DELETE", path=_path(operation_id), accept=frozenset({NOT_FOUND}))

    def fetch(self, video: Video) -> Call:
        """The content's address below the account's own, which is asked with the key."""
        return Call(method="GET", path=video.url or "", headers={"accept": "*/*"})

    def explain(self, response: Response) -> Failure:
        """`{"error": {"message", "type", "param", "code"}}`: its code, its words, the status."""
        error = gateway.error_of(response)
        return gateway.explain(
            response,
            title="The OpenAI-compatible gateway",
            words=gateway.text_in(error, "message"),
            fault=FAULTS.get(gateway.text_in(error, "code") or ""),
        )


def _path(operation_id: str) -> str:
    return f"/videos/{answers.segment(operation_id)}"


def _form(ask: Ask) -> tuple[Part, ...]:
    """The SDK's fields in the SDK's order; every one is text, `seconds` too."""
    fields = {
        "prompt": ask.prompt,
        "model": ask.upstream,
        "seconds": str(ask.duration_seconds),
        "size": f"{ask.width}x{ask.height}",
    }
    texts = tuple(Part(name=name, content=text.encode()) for name, text in fields.items())
    return texts if ask.image is None else (*texts, _picture(ask.image))


def _picture(uri: str) -> Part:
    """A data URI as a file; gateways tell its kind by the name's ending too."""
    head, _, content = uri.partition(",")
    kind = head.removeprefix("data:").partition(";")[0]
    return Part(
        name="input_reference",
        content=b64decode(content),
        filename=f"image.{kind.partition('/')[2]}",
        content_type=kind,
    )


def _update(operation_id: str, response: Response) -> Update:
    """One video; `progress` is 0 to 100. Its file is at its own address, so no link can be dead."""
    video = response.json()
    phase = answers.phase(video, "status", among=PHASES)
    progress = answers.optional_number(video, "progress") if phase is Phase.RUNNING else None
    made = (Video(url=f"{_path(operation_id)}/content"),)
    return Update(
        phase=phase,
        progress=None if progress is None else min(progress / 100, 1.0),
        videos=made if phase is Phase.SUCCEEDED else (),
        failure=_failure(video) if phase is Phase.FAILED else None,
        poll_after=_poll_after(response),
    )


def _poll_after(response: Response) -> float | None:
    text = response.headers.get(POLL_AFTER, "")
    return min(int(text) / 1000, LONGEST_POLL_AFTER) if text.isdecimal() else None


def _failure(video: object) -> Failure:
    """A code that no document has is told by its words, or stays UNKNOWN, for the operator."""
    error = answers.optional(video, "error")
    code = None if error is None else answers.optional_text(error, "code")
    words = None if error is None else answers.optional_text(error, "message")
    if code is not None and code in FAULTS:
        return failures.of_operation(FAULTS[code], title="The gateway", code=code, words=words)
    return gateway.ended(words, title="The gateway", code=code)
