"""Dead letters: requests from the broker that were refused. List them, and retry one."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.front import TenantRoute, front_of, in_time, key_of
from api.native.listing import read_page
from api.native.schemas import DeadLetterList, RetriedLetter, SealingKey
from api.native.tenants import TENANT, wanted_tenant, with_tenant
from api.openapi import PAGE_PARAMETERS, responses
from models.intake_failures import ListedFailure
from models.records import Json
from models.sealing import public_key
from tasks import letters
from tasks.forms import ENQUEUE_BATCH
from tasks.view import iso

router = APIRouter(route_class=TenantRoute, tags=["Requests from the broker"])


@router.get(
    "/v1/intake/failed",
    summary="List dead letters",
    responses=responses(200, DeadLetterList, "Newest first", 400),
    openapi_extra={"parameters": [TENANT, *PAGE_PARAMETERS]},
)
async def list_failed(request: Request) -> Response:
    """Messages of the key's tenant, or `tenant`, that could not be accepted; without content."""
    page = read_page(request, "tenant")
    found = await in_time(
        letters.list_dead(
            front_of(request).engine,
            tenant=wanted_tenant(request, page.filters.get("tenant")),
            limit=page.reach,
            after=page.after,
        )
    )
    return answer(
        page.answer(found, lambda letter: with_tenant(request, _view(letter), letter.tenant))
    )


@router.post(
    "/v1/intake/failed/{letter_id}/retry",
    status_code=202,
    summary="Retry a dead letter",
    responses=responses(
        202, RetriedLetter, "Its job or batch, which may have been there", 400, 402, 404, 409, 429
    ),
)
async def retry(request: Request, letter_id: str) -> Response:
    """Take the kept message in once more, as if it came from the broker now.

    Once it is accepted, the dead letter is gone (404). Otherwise the answer is today's refusal,
    which the dead letter names from now on. 409 `payload_not_kept`: it was too large to be kept.
    """
    front = front_of(request)
    made = await in_time(letters.retry(front.engine, letter_id, tenant=key_of(request).tenant))
    front.send(made.hints)
    is_batch = made.form is ENQUEUE_BATCH
    shown = {
        "id": letter_id,
        "object": "intake.accepted",
        "task": made.form.task,
        "job_id": None if is_batch else made.id,
        "batch_id": made.id if is_batch else None,
    }
    return answer(shown, status=202)


@router.get(
    "/v1/intake/key",
    summary="The key that messages are sealed with",
    responses=responses(200, SealingKey, "Public: whoever has it can seal, and not open"),
)
async def sealing_key(request: Request) -> Response:
    """For `sealing_key` of the client's `enqueue`; it changes when the newest secret does.

    What older secrets' keys have sealed is opened as long as LONGTAKE_SECRET_KEYS has them.
    """
    key = public_key(front_of(request).engine.vault)
    return answer({"object": "intake.sealing_key", "key": key})


def _view(failure: ListedFailure) -> Json:
    return {
        "id": failure.id,
        "object": "intake.failure",
        "task": failure.task,
        "task_id": failure.task_id,
        "job_id": failure.job,
        "batch_id": failure.batch,
        "error": {"code": failure.code, "message": failure.message, "param": failure.param},
        "line": failure.line,
        "is_kept": failure.is_kept,
        "created_at": iso(failure.at),
    }
