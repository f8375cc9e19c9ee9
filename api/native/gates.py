"""Gates: create, read, list, replace and delete."""

from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import read_json
from api.front import TenantRoute, front_of, in_time, key_of
from api.native.listing import read_page
from api.native.schemas import DeletedGate, Gate, GateList
from api.native.tenants import TENANT, wanted_tenant, with_tenant
from api.openapi import PAGE_PARAMETERS, body_of, responses
from models.gate import GateRequest
from tasks import gates
from tasks.gates import gate_view

router = APIRouter(route_class=TenantRoute, tags=["Gates"])

_BODY: Final[dict[str, Any]] = body_of(GateRequest)


@router.post(
    "/v1/gates",
    status_code=201,
    summary="Create a gate",
    responses=responses(201, Gate, "Requests may name it from now on", 400, 409, 413),
    openapi_extra=_BODY,
)
async def create(request: Request) -> Response:
    """A gate chooses the model for the requests that name it, and another where one can't."""
    wanted = GateRequest.from_json(await read_json(request))
    gate = await in_time(
        gates.create(front_of(request).engine, wanted, tenant=key_of(request).tenant)
    )
    return answer(gate_view(gate), status=201)


@router.get(
    "/v1/gates",
    summary="List gates",
    responses=responses(200, GateList, "Newest first", 400),
    openapi_extra={"parameters": [TENANT, *PAGE_PARAMETERS]},
)
async def list_gates(request: Request) -> Response:
    """The gates of the key's tenant or of `tenant`, newest first."""
    page = read_page(request, "tenant")
    found = await in_time(
        gates.list_newest(
            front_of(request).engine,
            tenant=wanted_tenant(request, page.filters.get("tenant")),
            limit=page.reach,
            after=page.after,
        )
    )
    return answer(
        page.answer(found, lambda gate: with_tenant(request, gate_view(gate), gate.tenant))
    )


@router.get(
    "/v1/gates/{gate}",
    summary="Read a gate",
    responses=responses(200, Gate, "The gate, by its id or name", 404),
)
async def read(request: Request, gate: str) -> Response:
    """One gate of the key's tenant."""
    found = await in_time(gates.read(front_of(request).engine, gate, tenant=key_of(request).tenant))
    return answer(gate_view(found))


@router.put(
    "/v1/gates/{gate}",
    summary="Replace a gate",
    responses=responses(200, Gate, "The gate as it is now", 400, 404, 409, 413),
    openapi_extra=_BODY,
)
async def replace(request: Request, gate: str) -> Response:
    """Replace the whole gate: fields that are left out get their defaults.

    Jobs that were submitted before keep the models that they were accepted with.
    """
    wanted = GateRequest.from_json(await read_json(request))
    front = front_of(request)
    found = await in_time(gates.replace(front.engine, gate, wanted, tenant=key_of(request).tenant))
    return answer(gate_view(found))


@router.delete(
    "/v1/gates/{gate}",
    summary="Delete a gate",
    responses=responses(200, DeletedGate, "It is gone; its jobs go on", 404),
)
async def delete(request: Request, gate: str) -> Response:
    """Requests that name it are refused from now on."""
    gone = await in_time(
        gates.delete(front_of(request).engine, gate, tenant=key_of(request).tenant)
    )
    return answer({"id": gone.id, "object": "gate", "deleted": True})
