"""Plans of lines that differ only in what no plan depends on: resolved once for all of them."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from catalog.accounts import Pick
from catalog.plan import Plan
from models.records import Json
from models.request import VideoRequest
from models.rows.gates import GateRow
from models.scene import PICTURES
from tasks.choosing import Choice, choice_of_gate
from tasks.engine import Engine

#: What a plan does not depend on, but for a prompt's length and whether there is a seed. A field
#: that is not named here is compared, so a new one is.
_FREE: Final = frozenset(
    {
        *("prompt", "seed", "metadata", "webhook_url", "webhook_secret", "priority", "run_at"),
        *("deadline_seconds", "start_within_seconds", "unknown_policy"),
    }
)
_COMPARED: Final = tuple(name for name in VideoRequest.model_fields if name not in _FREE)
#: The free fields that are written for each line, whatever else its rows have.
OWN_FIELDS: Final = ("prompt", "seed", "metadata")
#: The free fields that the rest of a line's rows depends on; its webhook is sealed for each line.
_OF_ROWS: Final = tuple(_FREE.difference(OWN_FIELDS, {"webhook_url", "webhook_secret"}))
#: Maximum templates of a batch; requests beyond them are resolved one by one.
_MOST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a line is made by."""

    choice: Choice
    #: Whether the plans were resolved for it. If not, only the `scene` is its own.
    is_new: bool
    #: Equal for lines whose rows differ only in their own fields; None if no other is like it.
    key: Hashable


@dataclass(slots=True, kw_only=True)
class Templates:
    """The choices of one batch's lines."""

    engine: Engine
    pick: Pick
    _known: dict[tuple[Any, ...], Choice] = field(default_factory=dict)
    _shortest: int = -1

    def find(self, request: VideoRequest, gate: GateRow | None, turn: int) -> Found:
        """The request's plans; raises RequestRefused as for a single request."""
        if not self._is_plain(request):
            return Found(choice=self._resolved(request, gate, turn), is_new=True, key=None)
        key = _key(request, gate, turn)
        template = self._known.get(key)
        if template is None:
            choice = self._resolved(request, gate, turn)
            if len(self._known) < _MOST:
                self._known[key] = choice
            return Found(choice=choice, is_new=True, key=_rows_key(key, request, choice))
        choice = self._like(template, request)
        return Found(choice=choice, is_new=False, key=_rows_key(key, request, choice))

    def _resolved(self, request: VideoRequest, gate: GateRow | None, turn: int) -> Choice:
        if gate is None:
            return Choice.of_model(self.engine, request, self.pick)
        return choice_of_gate(self.engine, request, gate, turn=turn, pick=self.pick)

    def _is_plain(self, request: VideoRequest) -> bool:
        """Whether it has no pictures, and a prompt that no route refuses."""
        if self._shortest < 0:
            self._shortest = _shortest_limit(self.engine)
        # An UTF-16 code unit is the smallest unit of any limit: at most two for a character.
        is_short = 2 * len(request.prompt) <= self._shortest
        return is_short and not any(getattr(request, name) for name in PICTURES)

    def _like(self, template: Choice, request: VideoRequest) -> Choice:
        scene = {**template.scene, "prompt": request.prompt}
        if scene["seed"] is not None:  # else no plan carries one
            scene["seed"] = request.seed
        plans, stored = template.plans, template.stored
        if len(self.engine.accounts) > 1:
            plans = [self._drawn(plan) for plan in plans]
            stored = [_at(values, plan) for values, plan in zip(stored, plans, strict=True)]
        return replace(template, scene=scene, plans=plans, stored=stored)

    def _drawn(self, plan: Plan) -> Plan:
        """The plan at an account of its provider that is drawn anew."""
        weight = self.engine.catalog.weight
        shares = {
            one.name: weight(one.name)
            for one in self.engine.accounts.values()
            if one.provider == plan.provider and weight(one.name)
        }
        if len(shares) < 2:  # noqa: PLR2004 - nothing to draw
            return plan
        return replace(plan, account=self.pick(shares, plan.estimated_cost_micros))


def _key(request: VideoRequest, gate: GateRow | None, turn: int) -> tuple[Any, ...]:
    names_model = "model" in request.model_fields_set
    start = None if gate is None else turn % (1 + len(gate.routing["fallback_models"]))
    values = [getattr(request, name) for name in _COMPARED]
    return (start, names_model, request.seed is None, *values)


def _rows_key(key: tuple[Any, ...], request: VideoRequest, choice: Choice) -> Hashable:
    if request.run_at is not None:  # two offsets may tell the same time
        return None
    accounts = [plan.account for plan in choice.plans]
    return (key, *accounts, *[getattr(request, name) for name in _OF_ROWS])


def _at(values: Json, plan: Plan) -> Json:
    return values if values["account"] == plan.account else values | {"account": plan.account}


def _shortest_limit(engine: Engine) -> int:
    """The least that any route lets a prompt have, in its own unit."""
    limits = [
        limit.most
        for model in engine.catalog.models()
        for route in model.routes.values()
        for with_image in (False, True)
        if (limit := route.prompt_limit_for(with_image=with_image))
    ]
    return min(limits, default=0)
