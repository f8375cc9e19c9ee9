"""Usage: what the tenant's jobs were and cost, in groups, as JSON or CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.front import TenantRoute, front_of, in_time
from api.native.listing import checked_text, read_time
from api.native.schemas import UsageList
from api.native.tenants import TENANT, wanted_tenant
from api.openapi import parameter, responses
from models.failure import RequestRefused
from models.records import Json
from tasks.usage import GROUPS, Usage, usage
from tasks.view import usd

router = APIRouter(route_class=TenantRoute, tags=["Usage"])

_METADATA = "metadata."
_FORMATS = ("json", "csv")
_KNOWN = ("group_by", "since", "until", "format", "tenant")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """The query string of a request for usage."""

    group_by: str
    since: datetime | None
    until: datetime | None
    metadata: dict[str, str]
    format: str
    tenant: str | None


@router.get(
    "/v1/usage",
    summary="Usage and cost in groups",
    responses=responses(200, UsageList, "One entry per group", 400),
    openapi_extra={
        "parameters": [
            parameter("group_by", "What to group by", {"enum": list(GROUPS), "default": "model"}),
            parameter("since", "Only jobs submitted from then on: a date or a time, ISO 8601, UTC"),
            parameter("until", "Only jobs submitted before then"),
            parameter("metadata.KEY", "Only jobs whose metadata has this value for KEY"),
            TENANT,
            parameter("format", "JSON or CSV", {"enum": list(_FORMATS), "default": "json"}),
        ]
    },
)
async def read_usage(request: Request) -> Response:
    """Jobs, seconds of video, cost, success rate and time to video of a tenant: the key's own.

    A job counts on the day of its submission. `cost_usd` is what was charged, `reserved_usd` what
    unfinished jobs may still cost. Jobs deleted by retention or by their owner still count, except
    in a selection by metadata.
    """
    query = _read(request)
    found = await in_time(
        usage(
            front_of(request).engine,
            tenant=wanted_tenant(request, query.tenant),
            group_by=query.group_by,
            since=query.since,
            until=query.until,
            metadata=query.metadata,
        )
    )
    if query.format == "csv":
        return Response(as_csv(found, query.group_by), media_type="text/csv; charset=utf-8")
    rows = [_view(each, query.group_by) for each in found]
    return answer({"data": rows, "has_more": False, "next": None})


def _read(request: Request) -> _Query:
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in _KNOWN and not name.startswith(_METADATA):
            known = ", ".join((*_KNOWN, f"{_METADATA}KEY"))
            message = f"{name[:64]} is not a known parameter; known: {known}"
            raise RequestRefused(message, param=name[:64])
        if name in values:
            raise RequestRefused(f"{name[:64]} is given more than once", param=name[:64])
        values[checked_text("a parameter's name", name)] = checked_text(name[:64], value)
    format_ = values.get("format", _FORMATS[0])
    if format_ not in _FORMATS:
        message = f"format must be one of {', '.join(_FORMATS)} (it is {format_[:64]})"
        raise RequestRefused(message, param="format")
    return _Query(
        group_by=values.get("group_by", "model"),
        since=read_time("since", values.get("since")),
        until=read_time("until", values.get("until")),
        metadata={
            name.removeprefix(_METADATA): value
            for name, value in values.items()
            if name.startswith(_METADATA)
        },
        format=format_,
        tenant=values.get("tenant"),
    )


def _view(each: Usage, group_by: str) -> Json:
    return {
        group_by: each.group_value,
        "jobs": each.jobs,
        "complete": each.complete,
        "failed": each.failed,
        "cancelled": each.cancelled,
        "videos": each.videos,
        "video_seconds": round(each.video_seconds, 3),
        "cost_usd": usd(each.cost_micros),
        "reserved_usd": usd(each.reserved_micros),
        "success_rate": _rounded(each.success_rate, 4),
        "seconds_to_video_p50": _rounded(each.took and each.took[0], 3),
        "seconds_to_video_p95": _rounded(each.took and each.took[1], 3),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def as_csv(found: Sequence[Usage], group_by: str) -> str:
    """The groups as a table, with a line of names."""
    rows = [_view(each, group_by) for each in found]
    text = io.StringIO()
    columns = list(_view(_NOTHING, group_by))
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows([{name: _cell(row[name]) for name in columns} for row in rows])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """The value; a quote keeps a caller's text from being a formula in a spreadsheet."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


#: Its columns are those of a table without rows.
_NOTHING = Usage(
    group_value=None,
    jobs=0,
    complete=0,
    failed=0,
    cancelled=0,
    videos=0,
    video_seconds=0,
    cost_micros=0,
    reserved_micros=0,
    took=None,
)
