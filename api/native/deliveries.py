"""Webhook deliveries: list them with their tries, and replay one."""

from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.front import TenantRoute, front_of, in_time, key_of
from api.native.listing import read_page
from api.native.schemas import Delivery, DeliveryList
from api.native.tenants import TENANT, wanted_tenant, with_tenant
from api.openapi import PAGE_PARAMETERS, parameter, responses
from models.records import Json
from models.vault import Vault, VaultError
from tasks import deliveries
from tasks.deliveries import ListedDelivery
from tasks.view import iso

log = structlog.get_logger()

router = APIRouter(route_class=TenantRoute, tags=["Webhooks"])


@router.get(
    "/v1/webhooks/deliveries",
    summary="List webhook deliveries",
    responses=responses(200, DeliveryList, "Newest first", 400),
    openapi_extra={
        "parameters": [
            parameter("job_id", "Only this job's"),
            parameter("batch_id", "Only this batch's own, which tell of its end"),
            parameter("status", "Only these", {"enum": list(deliveries.STATES)}),
            TENANT,
            *PAGE_PARAMETERS,
        ]
    },
)
async def list_deliveries(request: Request) -> Response:
    """The tenant's deliveries with every try that was made.

    Of another tenant's, which an admin key reads, `url` is the receiver's host alone: a path may be
    a secret.
    """
    front = front_of(request)
    page = read_page(request, "job_id", "batch_id", "status", "tenant")
    found = await in_time(
        deliveries.list_newest(
            front.engine,
            tenant=wanted_tenant(request, page.filters.get("tenant")),
            limit=page.reach,
            after=page.after,
            job_id=page.filters.get("job_id"),
            batch_id=page.filters.get("batch_id"),
            state=page.filters.get("status"),
        )
    )
    return answer(page.answer(found, lambda delivery: seen_delivery(request, delivery)))


def seen_delivery(request: Request, delivery: ListedDelivery) -> Json:
    """The view of a delivery that is read, maybe by an admin, to whom nothing sealed is opened."""
    is_own = delivery.tenant == key_of(request).tenant
    vault = front_of(request).engine.vault if is_own else None
    return with_tenant(request, _view(delivery, vault), delivery.tenant)


@router.post(
    "/v1/webhooks/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Replay a webhook delivery",
    responses=responses(202, Delivery, "Due now, or as soon as the try under way is over", 404),
)
async def replay(request: Request, delivery_id: str) -> Response:
    """Send it again, whatever came of it before: the same id and bytes, and a fresh signature.

    While a try is under way, one more follows it, however often a replay is asked for meanwhile:
    `try_under_way` and `replay_wanted` say so.
    """
    front = front_of(request)
    delivery, hints = await in_time(
        deliveries.replay(front.engine, delivery_id, tenant=key_of(request).tenant)
    )
    front.send(hints)
    return answer(_view(delivery, front.engine.vault), status=202)


def _view(delivery: ListedDelivery, vault: Vault | None) -> Json:
    return {
        "id": delivery.id,
        "object": "webhook.delivery",
        "job_id": delivery.job,
        "batch_id": delivery.batch,
        "type": delivery.type,
        "status": delivery.state,
        "url": _shown_url(delivery, vault) if vault else delivery.host,
        "tries": [
            {
                "number": made.number,
                "status": made.status,
                "error": made.error,
                "milliseconds": made.milliseconds,
                "at": iso(made.at),
            }
            for made in delivery.tries
        ],
        "next_try_at": iso(delivery.next_try_at),
        "try_under_way": delivery.is_under_way,
        "replay_wanted": delivery.replay_wanted,
        "created_at": iso(delivery.created_at),
        "finished_at": iso(delivery.finished_at),
    }


def _shown_url(delivery: ListedDelivery, vault: Vault) -> str:
    """The receiver's address without its query, which may hold a token."""
    try:
        parts = urlsplit(vault.open_json(delivery.target)["url"])
    except VaultError as error:
        log.error("delivery.sealed_for_ever", delivery=delivery.id, reason=str(error))  # noqa: TRY400
        return delivery.host
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
