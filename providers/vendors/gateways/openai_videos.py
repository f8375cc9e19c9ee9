"""The OpenAI Videos API, as in openai 3.52.0; OpenAI retired it, gateways still serve it.

OpenAI retired the API with its models on 2026-09-24 (developers.openai.com, deprecations), so an
account requires an `OPENAI_BASE_URL` that names a gateway with the same API.
"""

from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import (
    NOT_FOUND,
    Accepted,
    Ask,
    Call,
    Capabilities,
    Flow,
    Phase,
    Provider,
    Retired,
    Update,
    Video,
)
from providers.body import text_in
from providers.polling import read_listing
from providers.vendors.gateways import shared as gateway
from transport.base import Part, Response

#: Our choice, in seconds: the SDK's 600 would delay detecting a lost response.
SUBMIT_TIMEOUT: Final = 60.0
#: Header with the delay before the next poll, in milliseconds.
POLL_AFTER: Final = "openai-poll-after-ms"
LONGEST_POLL_AFTER: Final = 60.0

#: Videos on a page of the listing: developers.openai.com, API reference.
PAGE: Final = 100

#: Every status of Video in openai 3.52.0.
PHASES: Final[Mapping[str, Phase]] = {
    "queued": Phase.QUEUED,
    "in_progress": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

#: Error codes that the status does not distinguish: developers.openai.com, error codes; the
#: moderation codes are those of Sora and of the image API.
FAULTS: Final[Mapping[str, Fault]] = {
    "moderation_blocked": Fault.MODERATED,
    "content_policy_violation": Fault.MODERATED,
    "insufficient_quota": Fault.QUOTA,  # 429, like a rate limit
    "billing_hard_limit_reached": Fault.QUOTA,  # 400
}


class OpenaiVideos(Provider):
    """Text and a first frame to video, as multipart; the finished file requires the key."""

    name: ClassVar[str] = "openai_videos"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("OPENAI_API_KEY",),)
    base_variable: ClassVar[str] = "OPENAI_BASE_URL"
    default_base: ClassVar[str] = "https://api.openai.com/v1"
    retired: ClassVar[Retired | None] = Retired(vendor="OpenAI", on=date(2026, 9, 24))
    capabilities: ClassVar[Capabilities] = Capabilities(
        progress=True,
        cancel=True,
        inline_pictures=True,
        listed=PAGE,
        result_needs_key=True,
        sources={
            "cancel": "DELETE /videos/{id}, the only way to stop one; openai 3.52.0",
            "cancelled_costs": "unverified: whether deleting stops the charge is undocumented",
            "inline_pictures": "input_reference is a file; openai 3.52.0",
            "listed": "GET /videos, whose entries are whole videos; openai 3.52.0",
            "look_up": "no external id; the listing (openai 3.52.0) has prompts, but no marker",
            "retired": "developers.openai.com, deprecations: retired on 2026-09-24",
            "poll_floor": "ours; openai 3.52.0 waits a second, or as the response header says",
            "refusals": "developers.openai.com, error codes: 4xx are request errors",
            "result_lives": "expires_at, if the gateway reports it; openai 3.52.0",
            "result_needs_key": "GET /videos/{id}/content; openai 3.52.0",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /videos, multipart even without an image."""
        response = yield Call(
            method="POST", path="/videos", form=_form(ask), paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /videos/{id}; 404 (deleted) is omitted."""
        updates = {}
        for operation_id in operation_ids:
            path = _path(operation_id)
            response = yield Call(method="GET", path=path, accept=frozenset({NOT_FOUND}))
            if response.status != NOT_FOUND:
                updates[operation_id] = _update(
                    operation_id, response.json(), after=_poll_after(response)
                )
        return updates

    def survey(self, wanted: Collection[str]) -> Flow[Mapping[str, Update]]:
        """GET /videos, the newest first; a page begins after the last of the one before."""
        return read_listing(
            wanted,
            first=_page(),
            entries=lambda page: answers.items(page, "data"),
            read=lambda video: _update(answers.identifier(video, "id"), video),
            following=_next_page,
        )

    def cancel(self, operation_id: str) -> Flow[None]:
        """DELETE /videos/{id}; 404 if already deleted."""
        yield Call(method="DELETE", path=_path(operation_id))

    def fetch(self, video: Video) -> Call:
        """The content's path below the account's base URL, which requires the key."""
        return Call(method="GET", path=video.url or "", headers={"accept": "*/*"})

    def explain(self, response: Response) -> Failure:
        """`{"error": {"message", "type", "param", "code"}}`: by code, message, then status."""
        error = gateway.error_of(response)
        return gateway.explain(
            response,
            title="The OpenAI-compatible gateway",
            words=text_in(error, "message"),
            fault=FAULTS.get(text_in(error, "code") or ""),
        )


def _path(operation_id: str) -> str:
    return f"/videos/{answers.segment(operation_id)}"


def _form(ask: Ask) -> tuple[Part, ...]:
    """The SDK's fields in its order; all are text, including `seconds`."""
    fields = {
        "prompt": ask.scene.prompt,
        "model": ask.upstream,
        "seconds": str(ask.duration_seconds),
        "size": f"{ask.width}x{ask.height}",
    }
    texts = tuple(Part(name=name, content=text.encode()) for name, text in fields.items())
    return texts if ask.scene.image is None else (*texts, _picture(ask.scene.image))


def _picture(uri: str) -> Part:
    """A data URI as a file; gateways also infer its type from the file name."""
    head, _, content = uri.partition(",")
    kind = head.removeprefix("data:").partition(";")[0]
    return Part(
        name="input_reference",
        content=b64decode(content),
        filename=f"image.{kind.partition('/')[2]}",
        content_type=kind,
    )


def _page(**more: str) -> Call:
    query = {"limit": str(PAGE), "order": "desc", **more}
    return Call(method="GET", path="/videos", query=query)


def _next_page(page: object) -> Call | None:
    last = answers.optional_text(page, "last_id")
    return _page(after=last) if last and answers.optional(page, "has_more") is True else None


def _update(operation_id: str, video: object, *, after: float | None = None) -> Update:
    """One video; `progress` is 0 to 100, and the file is at a fixed path."""
    phase = answers.phase(video, "status", among=PHASES)
    progress = answers.optional_number(video, "progress") if phase is Phase.RUNNING else None
    made = (Video(url=f"{_path(operation_id)}/content"),)
    return Update(
        phase=phase,
        progress=None if progress is None else min(progress / 100, 1.0),
        videos=made if phase is Phase.SUCCEEDED else (),
        failure=_failure(video) if phase is Phase.FAILED else None,
        poll_after=after,
    )


def _poll_after(response: Response) -> float | None:
    text = response.headers.get(POLL_AFTER, "")
    return min(int(text) / 1000, LONGEST_POLL_AFTER) if text.isdecimal() else None


def _failure(video: object) -> Failure:
    """The failure; undocumented codes are classified by their message or stay UNKNOWN."""
    error = answers.optional(video, "error")
    code = None if error is None else answers.optional_text(error, "code")
    words = None if error is None else answers.optional_text(error, "message")
    if code is not None and code in FAULTS:
        return failures.of_operation(FAULTS[code], title="The gateway", code=code, words=words)
    return gateway.ended(words, title="The gateway", code=code)
