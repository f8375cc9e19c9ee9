"""Runway's developer API, version 2024-11-06: tasks from text, image or video.

Source: the types and behaviour of runwayml 5.24.0 and docs.dev.runwayml.com.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import (
    Endpoint,
    Handler,
    Refusal,
    Upstream,
    moderated,
    read_object,
    reply,
)
from simulator.upstreams.runway_models import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, VIDEO_TO_VIDEO, Rule
from simulator.upstreams.runway_rules import clip_of, complaints, credits_of

API_VERSION: Final = "2024-11-06"

_KEY = re.compile(r"Bearer key_\S+")

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "THROTTLED",
    Phase.QUEUED: "PENDING",
    Phase.RUNNING: "RUNNING",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD,
    Phase.SUCCEEDED: "SUCCEEDED",
    Phase.FAILED: "FAILED",
    Phase.CANCELLED: "CANCELLED",
}


class Runway(Upstream):
    """Tasks beyond their model's concurrency limit wait as THROTTLED."""

    name: ClassVar[str] = "runway"
    prefix: ClassVar[str] = "/runway"
    prompt_field: ClassVar[str] = "promptText"
    #: "Within 24-48 hours"; each poll returns a new URL.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=24)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "RUNWAYML_BASE_URL": origin + self.prefix,
            "RUNWAYML_API_SECRET": "key_" + "5" * 128,
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/text_to_video", self._submit(TEXT_TO_VIDEO), Step.SUBMIT),
            Endpoint("POST", "/v1/image_to_video", self._submit(IMAGE_TO_VIDEO), Step.SUBMIT),
            Endpoint("POST", "/v1/video_to_video", self._submit(VIDEO_TO_VIDEO), Step.SUBMIT),
            Endpoint("GET", "/v1/tasks/{id}", self.poll, Step.POLL),
            Endpoint("DELETE", "/v1/tasks/{id}", self.cancel, Step.CANCEL),
            self.download_endpoint(),
        )

    def authorize(self, request: web.Request) -> None:
        if not _KEY.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "You did not provide a valid API key.")
        if request.headers.get("X-Runway-Version") != API_VERSION:
            raise Refusal(400, f"X-Runway-Version is required and must be {API_VERSION}.")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        body: dict[str, object] = {"error": refusal.message}
        if refusal.issues:
            body |= {"issues": refusal.issues, "docUrl": "https://docs.dev.runwayml.com/api"}
        return reply(body, status=refusal.status, headers=refusal.headers)

    def _submit(self, rules: Mapping[str, Rule]) -> Handler:
        async def submit(request: web.Request) -> web.Response:
            body = await read_object(request)
            if issues := list(complaints(body, rules)):
                raise Refusal(400, "Validation of body failed", issues=issues)
            task = self.accept(request, self._order(body, rules))
            return reply({"id": task.id, "estimatedCost": {"credits": task.order.price}})

        return submit

    def _order(self, body: dict[str, object], rules: Mapping[str, Rule]) -> Order:
        model = str(body["model"])
        clip = clip_of(body, rules[model])
        seed = body.get("seed")
        return Order(
            provider=self.name,
            operation_id=str(uuid.uuid4()),
            model=model,
            prompt=str(body.get("promptText", "")),
            seed=seed if isinstance(seed, int) else None,
            clip=clip,
            lane=model,
            limit=self.world.options.concurrency,
            price=credits_of(body, clip),
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        task = self.world.operations.poll(self.name, self.operation_id(request))
        if task is None:
            raise Refusal(404, "Task not found.")
        return reply(self._task(request, task))

    def _task(self, request: web.Request, task: Operation) -> dict[str, object]:
        phase = self.phase(task)
        shown: dict[str, object] = {
            "id": task.id,
            "createdAt": task.created_at.isoformat(timespec="milliseconds"),
            "status": _WORDS[phase],
        }
        if not phase.is_final:
            shown["estimatedCost"] = {"credits": task.order.price}
        if phase is Phase.RUNNING:
            shown["progress"] = round(task.progress(self.world.operations.now()), 4)
        if phase is Phase.SUCCEEDED:
            shown |= {"output": [self.link(request, task)], "cost": {"credits": task.order.price}}
        if phase is Phase.FAILED:
            shown |= {**_failure(task), "cost": {"credits": 0}}
        if phase is Phase.CANCELLED:
            # Only a task that has started is charged: the SDK's docs on tasks.delete.
            begun = task.cancelled_in in (Phase.RUNNING, Phase.UNDOCUMENTED)
            shown["cost"] = {"credits": task.order.price if begun else 0}
        return shown

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel an unfinished task (CANCELLED), or delete a final one (404)."""
        task = self.world.operations.find(self.name, self.operation_id(request))
        if task is None:
            raise Refusal(404, "Task not found.")
        if self.phase(task).is_final:
            task.deleted = True
        else:
            self.world.operations.cancel(task)
        return web.Response(status=204)


def _failure(task: Operation) -> dict[str, object]:
    if moderated(task):
        return {
            "failure": "The prompt did not pass content moderation.",
            "failureCode": "SAFETY.INPUT.TEXT",
        }
    return {"failure": "The generation failed.", "failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
