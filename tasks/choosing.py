"""What a request is made by: its model's plan, or the plans of its gate's models in their order."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Self

from catalog.accounts import Pick, Picker
from catalog.gateways import gateways_for
from catalog.plan import Plan
from catalog.resolve import resolve
from models.accounts import room
from models.database import Connection, fetch_ids
from models.failure import RequestRefused
from models.gate import OVERRIDABLE, Strategy
from models.records import Json
from models.request import VideoRequest
from models.rows.gates import GateRow
from tasks.engine import Engine
from tasks.gates import find_gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The plans that a job may be carried out by; later ones only if earlier ones can't."""

    plans: Sequence[Plan]
    #: What all the plans' scenes are stored beside.
    scene: Json = field(repr=False)
    #: The plans as they are stored.
    stored: Sequence[Json] = field(repr=False)
    #: The gate's id.
    gate: str | None = None
    #: Whether the gate chose the model, and not the request.
    is_free: bool = False

    @classmethod
    def of_model(cls, engine: Engine, request: VideoRequest, pick: Pick) -> Self:
        """The model that the request names; raises RequestRefused."""
        plan = resolve(request, engine.catalog, engine.accounts, pick)
        scene = plan.to_json()["scene"]
        return cls(plans=(plan,), scene=scene, stored=(plan.beside(scene),))

    def left_out(self, sealed: Collection[str]) -> set[str]:
        """The request's fields that are not stored in clear, or that it did not set."""
        return {*sealed, *(("model",) if self.is_free else ())}


async def picker(engine: Engine) -> Picker:
    """What chooses among accounts; it asks what they may spend only if a provider has several."""
    accounts = engine.accounts.values()
    providers = Counter(account.provider for account in accounts)
    several = [account.name for account in accounts if providers[account.provider] > 1]
    if not several:
        return Picker(dice=engine.dice)
    left = await engine.database.run_statement(lambda connection: room(connection, several))
    return Picker(dice=engine.dice, room=left)


async def choose(
    engine: Engine, connection: Connection, request: VideoRequest, *, tenant: str, pick: Pick
) -> Choice:
    """The plans of a request that names a gate, whose row is locked if it deals out turns.

    The lock comes first in the transaction, before the rows of the job, which nobody else sees yet.
    The gate's spending limit is a budget, which is checked with the others.

    A model that has no credentials is passed over, and so is one that can't make the request, but
    not if the request names it. If all of them are, gateways that sell them are tried.

    Raises:
        RequestRefused: `not_found`, an override that the gate forbids, or no model that can make
            it; then with the first one's reason.
    """
    gate = await find_gate(connection, str(request.gate), tenant=tenant)
    turn = await take_turns(connection, gate) if takes_turn(gate, request) else 0
    return choice_of_gate(engine, request, gate, turn=turn, pick=pick)


def takes_turn(gate: GateRow, request: VideoRequest) -> bool:
    """Whether the request's model depends on whose turn it is.

    Raises:
        RequestRefused: the request sets a field that the gate does not let it set.
    """
    given = _given(request)
    _check_overrides(gate, given)
    return "model" not in given and gate.strategy == Strategy.ROUND_ROBIN


async def take_turns(connection: Connection, gate: GateRow, count: int = 1) -> int:
    """Take turns of a gate, whose row is locked from then on; returns the first one's number."""
    sql = "UPDATE gate SET turns = turns + %s WHERE id = %s RETURNING (turns - %s)::text"
    turns = await fetch_ids(connection, sql, (count, gate.id, count))
    return int(turns[0]) if turns else 0


def choice_of_gate(
    engine: Engine, request: VideoRequest, gate: GateRow, *, turn: int, pick: Pick
) -> Choice:
    """The plans of the gate's models, beginning with the one whose turn it is or that is asked for.

    Raises:
        RequestRefused: no model can make it; with the first one's reason.
    """
    is_free = "model" not in _given(request)
    asked = None if is_free else request.model
    names = _order(gate, asked, turn=turn)
    plans = _plans(engine, request, names, asked=asked, pick=pick)
    scene = request.scene().model_dump(mode="json")
    stored = [plan.beside(scene) for plan in plans]
    return Choice(plans=plans, scene=scene, stored=stored, gate=gate.id, is_free=is_free)


def _given(request: VideoRequest) -> set[str]:
    return {name for name in request.model_fields_set if getattr(request, name) is not None}


def _check_overrides(gate: GateRow, given: Collection[str]) -> None:
    allowed = gate.routing["overrides"]
    if allowed == "all":
        return
    for name in OVERRIDABLE:
        if name in given and (allowed == "none" or name not in allowed):
            listed = ", ".join(allowed) if isinstance(allowed, list) and allowed else "no field"
            msg = f"{name} must not be set: the gate {gate.name} allows requests to set {listed}"
            raise RequestRefused(msg, param=name)


def _order(gate: GateRow, asked: str | None, *, turn: int) -> list[str]:
    """The gate's models, beginning with the one whose turn it is, or with the one asked for."""
    models = [gate.routing["model"], *gate.routing["fallback_models"]]
    if asked is not None:
        return [asked, *models[1:]]
    first = turn % len(models)
    return models[first:] + models[:first]


def _plans(
    engine: Engine, request: VideoRequest, names: Sequence[str], *, asked: str | None, pick: Pick
) -> list[Plan]:
    """The plans of the models that can make the request, each route once.

    If there are none, gateways make those that the gate chose and that have no credentials.
    """
    refusals: dict[str, RequestRefused] = {}
    plans = _made(engine, request, names, refusals, asked=asked, pick=pick)
    if not plans:
        at_gateways = [
            at_gateway
            for name, refusal in tuple(refusals.items())
            if name != asked
            for at_gateway in gateways_for(name, refusal, engine.catalog, engine.accounts)
        ]
        plans = _made(engine, request, at_gateways, refusals, asked=asked, pick=pick)
    if not plans:
        raise next(iter(refusals.values()))
    return plans


def _made(
    engine: Engine,
    request: VideoRequest,
    names: Sequence[str],
    refusals: dict[str, RequestRefused],
    *,
    asked: str | None,
    pick: Pick,
) -> list[Plan]:
    """The plans of these models; `refusals` gets why the others have none."""
    plans: dict[tuple[str, str, str], Plan] = {}
    for name in names:
        named = request.model_copy(update={"model": name})
        try:
            plan = resolve(named, engine.catalog, engine.accounts, pick)
        except RequestRefused as refusal:
            if name == asked and refusal.type == "invalid_request":
                raise
            refusals.setdefault(name, refusal)
        else:
            plans.setdefault((plan.model, plan.provider, plan.route), plan)
    return list(plans.values())
