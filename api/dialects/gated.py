"""A dialect's submission through a tenant's gate, which decides what requests may set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.dialects.submitting import ADAPTED, Submitted, submit
from api.front import front_of, in_time, key_of
from catalog.adapt import Change
from catalog.models import Catalog
from models.failure import RequestRefused
from models.gate import OVERRIDABLE
from models.records import Json
from tasks import gates


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """A submission through a gate, with what the gate left out of the request."""

    submitted: Submitted
    left_out: tuple[Change, ...]

    @property
    def headers(self) -> dict[str, str]:
        """As of a submission; what the gate left out is listed first."""
        headers = self.submitted.headers
        told = [*map(str, self.left_out), *filter(None, [headers.get(ADAPTED)])]
        return headers | ({ADAPTED: ", ".join(told)} if told else {})


async def gate_of(request: Request, name: str) -> Json:
    """The tenant's gate by id or name; raises RequestRefused (`gate_not_found`)."""
    front, tenant = front_of(request), key_of(request).tenant
    return gates.gate_view(await in_time(gates.read(front.engine, name, tenant=tenant)))


async def submit_through(
    request: Request,
    gate: Json,
    fields: Mapping[str, Any],
    *,
    body: Any,
    event_fields: Callable[[str], Json] | None = None,
) -> Gated:
    """Submit `fields` through the gate, without what it forbids and without an unknown model.

    A gate ignores what requests must not set, as the systems with gates do; natively that is
    refused. Raises as `submit`.
    """
    kept, left_out = _permitted(fields, gate, front_of(request).engine.catalog)
    through = {**kept, "gate": gate["id"]}
    submitted = await submit(request, through, body=body, event_fields=event_fields)
    return Gated(submitted=submitted, left_out=left_out)


def _permitted(
    fields: Mapping[str, Any], gate: Json, catalog: Catalog
) -> tuple[Json, tuple[Change, ...]]:
    given = {name: value for name, value in fields.items() if value is not None}
    allowed = OVERRIDABLE if gate["overrides"] == "all" else gate["overrides"]
    left_out = [
        name
        for name in OVERRIDABLE
        if name in given
        and (name not in allowed or (name == "model" and not _is_known(given[name], catalog)))
    ]
    changes = tuple(
        Change(
            field=name,
            asked=given[name],
            made=gate["model"] if name == "model" else None,
        )
        for name in left_out
    )
    return {name: value for name, value in given.items() if name not in left_out}, changes


def _is_known(model: str, catalog: Catalog) -> bool:
    try:
        catalog.find(model)
    except RequestRefused:
        return False
    return True
