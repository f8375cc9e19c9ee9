"""Kling's first endpoints, with the model in the body: https://kling.ai/document-api (2026)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

import jwt

from providers import answers
from providers.base import (
    NOT_FOUND,
    Accepted,
    Account,
    Ask,
    Call,
    Capabilities,
    Flow,
    Found,
    LookUp,
    Phase,
    Update,
    Video,
)
from providers.body import without_none
from providers.vendors.kling.shared import (
    SOURCES,
    SUBMIT_TIMEOUT,
    KlingApi,
    answer_of,
    picture,
    task_failure,
)

TEXT, IMAGE = "text2video", "image2video"

#: The vendor's values, in seconds: token lifetime, and how far before now it becomes valid.
TOKEN_LIVES: Final = 1800
TOKEN_BEGINS: Final = 5

#: Every task_status; the newer endpoints use `succeeded` for `succeed`.
PHASES: Final[Mapping[str, Phase]] = {
    "submitted": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "succeed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

#: The price class for each resolution.
MODES: Final[Mapping[str, str]] = {"720p": "std", "1080p": "pro"}


class KlingLegacy(KlingApi):
    """Text and image to video with Kling 2 and 3, for accounts with a key pair.

    A task is polled at the endpoint that made it, so an operation id is kind and task id:
    `text2video/886889456698785798`.
    """

    name: ClassVar[str] = "kling_legacy"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("KLING_API_KEY",),
        ("KLING_ACCESS_KEY", "KLING_SECRET_KEY"),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        look_up=(LookUp.EXTERNAL_ID,),
        look_up_delay=10.0,
        poll_floor=5.0,
        result_lives=2_592_000.0,
        sources=SOURCES,
    )

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:
        """The API key, or a token signed for each request, so none can expire."""
        keys = account.credentials
        token = keys.get("KLING_API_KEY") or token_of(
            keys["KLING_ACCESS_KEY"], keys["KLING_SECRET_KEY"], now=now
        )
        return {"authorization": f"Bearer {token}"}

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1/videos/text2video, or …/image2video with a first frame."""
        kind = IMAGE if ask.scene.image else TEXT
        response = yield Call(
            method="POST",
            path=f"/v1/videos/{kind}",
            json=_body(ask),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        task = answers.record(answer_of(response), "data")
        return Accepted(operation_id=f"{kind}/{answers.identifier(task, 'task_id')}")

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/videos/{kind}/{task_id}; 404 is omitted."""
        updates = {}
        for operation_id in operation_ids:
            kind, _, task_id = operation_id.partition("/")
            response = yield _task_named(kind, task_id)
            if response.status != NOT_FOUND:
                updates[operation_id] = _update(answers.record(answer_of(response), "data"))
        return updates

    def look_up(self, ask: Ask) -> Flow[Found]:
        """GET /v1/videos/{kind}/{external_task_id}: the same path accepts our external id."""
        kind = IMAGE if ask.scene.image else TEXT
        response = yield _task_named(kind, ask.marker)
        if response.status == NOT_FOUND:
            self.check_absence(response)
            return Found(operation_id=None)
        task = answers.record(answer_of(response), "data")
        operation_id = f"{kind}/{answers.identifier(task, 'task_id')}"
        if answers.optional(answers.record(task, "task_info"), "external_task_id") == ask.marker:
            return Found(operation_id=operation_id)
        return Found(operation_id=None, look_alikes=(operation_id,), is_proof=False)


def token_of(access_key: str, secret_key: str, *, now: float) -> str:
    """A JWT as the vendor documents it: HS256, with `iss`, `exp` and `nbf`."""
    return _signed(access_key, secret_key, int(now))


@lru_cache(maxsize=16)  # requests of one second have the same
def _signed(access_key: str, secret_key: str, now: int) -> str:
    claims = {"iss": access_key, "exp": now + TOKEN_LIVES, "nbf": now - TOKEN_BEGINS}
    return jwt.encode(claims, secret_key, algorithm="HS256")


def _body(ask: Ask) -> dict[str, Any]:
    """The flat body of both kinds; with an image, the image decides the aspect ratio."""
    scene = ask.scene
    body = {
        "model_name": ask.upstream,
        "prompt": scene.prompt,
        "negative_prompt": scene.negative_prompt,
        "duration": str(ask.duration_seconds),
        "mode": MODES[ask.resolution],
        "aspect_ratio": None if scene.image else ask.aspect_ratio,
        "cfg_scale": scene.cfg_scale,
        "sound": None if scene.audio is None else ("on" if scene.audio else "off"),
        "image": picture(scene.image) if scene.image else None,
        "image_tail": picture(scene.last_image) if scene.last_image else None,
        "external_task_id": ask.marker,
        "callback_url": ask.callback_url,
    }
    return without_none(body)


def _task_named(kind: str, name: str) -> Call:
    path = f"/v1/videos/{answers.segment(kind)}/{answers.segment(name)}"
    return Call(method="GET", path=path, accept=frozenset({NOT_FOUND}))


def _update(task: object) -> Update:
    """One task; its charge is in prepaid units, which have no price here."""
    phase = answers.phase(task, "task_status", among=PHASES)
    words = answers.optional_text(task, "task_status_msg") if phase is Phase.FAILED else None
    return Update(
        phase=phase,
        videos=_videos(task) if phase is Phase.SUCCEEDED else (),
        failure=task_failure(words) if phase is Phase.FAILED else None,
    )


def _videos(task: object) -> tuple[Video, ...]:
    result = answers.record(task, "task_result")
    videos = tuple(
        Video(url=answers.link(answers.text(video, "url")))
        for video in answers.items(result, "videos")
    )
    if not videos:
        msg = "'videos' is empty although the task succeeded"
        raise answers.Undocumented(msg)
    return videos
