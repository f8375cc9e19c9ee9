"""Gates: the list, and one gate as a form, to create, replace or delete it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.errors import STATUS
from api.front import front_of, in_time, key_of
from api.native.listing import take_no_parameters
from api.pages.listing import read_listing
from api.pages.rendering import Entry, Links, page
from api.pages.visits import ROOT, Form, PageRoute, amount_in, form_of, only_field, visit_of
from models.failure import RequestRefused
from models.gate import MAX_FALLBACKS, OVERRIDABLE, GateRequest, Strategy
from models.records import Json
from tasks import gates
from tasks.gates import gate_view

ENTRY: Final = Entry(title="Gates", path="gates")
#: What requests may set: everything, nothing, or what is chosen.
_ALL, _NONE, _CHOSEN = "all", "none", "chosen"
#: Refusals that are shown in the form: another value of a field mends them.
_IN_THE_FORM: Final = frozenset({"invalid_request", "conflict"})
_SEE_OTHER: Final = 303

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A gate's fields as a form holds them."""

    name: str = ""
    model: str = ""
    strategy: str = Strategy.SINGLE.value
    #: One in a line.
    fallback_models: str = ""
    allows: str = _ALL
    overrides: frozenset[str] = frozenset()
    spending_limit_usd: str = ""

    @classmethod
    def of_view(cls, view: Json) -> "Fields":
        given, limit = view["overrides"], view["spending_limit_usd"]
        is_word = isinstance(given, str)
        return cls(
            name=view["name"],
            model=view["model"],
            strategy=view["strategy"],
            fallback_models="\n".join(view["fallback_models"]),
            allows=given if is_word else _CHOSEN,
            overrides=frozenset() if is_word else frozenset(given),
            spending_limit_usd="" if limit is None else f"{limit:.15g}",
        )

    @classmethod
    def of_form(cls, form: Form) -> "Fields":
        """Raises RequestRefused for a field that is given twice."""

        def text(name: str) -> str:
            return only_field(form, name) or ""

        return cls(
            name=text("name"),
            model=text("model"),
            strategy=text("strategy"),
            fallback_models=text("fallback_models"),
            allows=text("allows"),
            overrides=frozenset(form.get("overrides", ())),
            spending_limit_usd=text("spending_limit_usd").strip(),
        )

    @property
    def body(self) -> Json:
        """What the API takes; raises RequestRefused for what is no number or no choice."""
        if self.allows not in {_ALL, _NONE, _CHOSEN}:
            msg = f"allows must be {_ALL}, {_NONE} or {_CHOSEN} (it is {self.allows[:64]!r})"
            raise RequestRefused(msg, param="allows")
        return {
            "name": self.name,
            "model": self.model.strip(),
            "strategy": self.strategy,
            "fallback_models": [
                line.strip() for line in self.fallback_models.splitlines() if line.strip()
            ],
            "overrides": sorted(self.overrides) if self.allows == _CHOSEN else self.allows,
            "spending_limit_usd": amount_in(self.spending_limit_usd, "spending_limit_usd"),
        }


@router.get(f"{ROOT}/gates")
async def list_gates(request: Request) -> Response:
    """The gates, newest first."""
    listing = read_listing(request)
    found = await in_time(
        gates.list_newest(
            front_of(request).engine,
            tenant=listing.tenant,
            limit=listing.page.reach,
            after=listing.page.after,
        )
    )
    shown = listing.page.answer(found, lambda gate: gate_view(gate) | {"tenant": gate.tenant})
    return page(
        request,
        "gates.html",
        title="Gates",
        entry=ENTRY,
        listing=listing,
        gates=shown["data"],
        following=shown["next"],
        own=key_of(request).tenant,
        may_change=_may_change(request),
    )


@router.get(f"{ROOT}/gates/new")
async def begin(request: Request) -> Response:
    """An empty form."""
    take_no_parameters(request)
    return _form(request, Fields())


@router.get(f"{ROOT}/gates/{{gate}}")
async def show(request: Request, gate: str) -> Response:
    """One gate of the session's tenant, as a form."""
    take_no_parameters(request)
    return _form(request, None, gate=await _view(request, gate))


@router.post(f"{ROOT}/gates")
async def create(request: Request) -> Response:
    """Create the gate; what is wrong with it is shown in the form."""
    fields = Fields.of_form(form_of(request))
    try:
        wanted = GateRequest.from_json(fields.body)
        made = await in_time(
            gates.create(front_of(request).engine, wanted, tenant=key_of(request).tenant)
        )
    except RequestRefused as refusal:
        return _form(request, fields, refusal=_mendable(refusal))
    return _to(request, made.id)


@router.post(f"{ROOT}/gates/{{gate}}")
async def replace(request: Request, gate: str) -> Response:
    """Replace all that the gate says; jobs keep the models that they were accepted with."""
    fields, old = Fields.of_form(form_of(request)), await _view(request, gate)
    engine, tenant = front_of(request).engine, key_of(request).tenant
    try:
        wanted = GateRequest.from_json(fields.body)
        await in_time(gates.replace(engine, old["id"], wanted, tenant=tenant))
    except RequestRefused as refusal:
        return _form(request, fields, gate=old, refusal=_mendable(refusal))
    return _to(request, old["id"])


@router.post(f"{ROOT}/gates/{{gate}}/delete")
async def delete(request: Request, gate: str) -> Response:
    """Delete the gate: requests that name it are refused from now on."""
    await in_time(gates.delete(front_of(request).engine, gate, tenant=key_of(request).tenant))
    return _to(request)


async def _view(request: Request, gate: str) -> Json:
    engine, tenant = front_of(request).engine, key_of(request).tenant
    return gate_view(await in_time(gates.read(engine, gate, tenant=tenant)))


def _form(
    request: Request,
    fields: Fields | None,
    *,
    gate: Mapping[str, object] | None = None,
    refusal: RequestRefused | None = None,
) -> Response:
    catalog = front_of(request).engine.catalog
    return page(
        request,
        "gate.html",
        title=f"Gate {gate['name']}" if gate else "New gate",
        entry=ENTRY,
        status=STATUS[refusal.type] if refusal else 200,
        gate=gate,
        fields=fields or Fields.of_view(dict(gate or {})),
        refusal=refusal,
        strategies=[each.value for each in Strategy],
        overridable=OVERRIDABLE,
        most_fallbacks=MAX_FALLBACKS,
        models=[model.name for model in catalog.models()],
        may_change=_may_change(request),
    )


def _mendable(refusal: RequestRefused) -> RequestRefused:
    """The refusal, if another value would mend it; else it is raised again."""
    if refusal.type not in _IN_THE_FORM:
        raise refusal
    return refusal


def _may_change(request: Request) -> bool:
    return not visit_of(request).session.is_read_only


def _to(request: Request, *gate: str) -> Response:
    links = Links(front_of(request).engine.settings.ui_prefix)
    return RedirectResponse(links("gates", *gate), _SEE_OTHER)
