"""An attempt's request, rebuilt from its row: to send it, or to look it up."""

from collections.abc import Mapping
from typing import Any, Protocol

from catalog.plan import Plan
from providers.base import Ask
from tasks.engine import Engine

#: Stands for a picture that a look-up does not send: that there was one may tell where to look.
_LEFT_OUT = "data:,"


class Sendable(Protocol):
    """The columns that an attempt's request is rebuilt from."""

    @property
    def id(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def marker(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def plan(self) -> dict[str, Any]: ...
    @property
    def scene(self) -> bytes: ...
    @property
    def variation(self) -> int | None: ...


def plan_of(engine: Engine, item: Sendable) -> Plan:
    """The attempt's plan, with the job's sealed scene as its route supports it."""
    scene = engine.vault.open_json(item.scene) | item.plan.get("scene", {})
    return Plan.from_json({**item.plan, "scene": scene})


def ask_of(
    engine: Engine,
    item: Sendable,
    plan: Plan,
    *,
    pictures: Mapping[str, str] | None = None,
    callback_base: str | None = None,
) -> Ask:
    """The attempt's request; `pictures` are earlier jobs' frames, which a look-up does not need.

    `callback_base` is the public root of its callback address; without one it has none. A look-up
    takes it from the attempt's row: the address that was sent counts, not today's settings.
    """
    provider = engine.provider(item.account)
    callback = f"{callback_base}/callbacks/{provider.name}/{item.marker}"
    return plan.ask(
        pictures=pictures or dict.fromkeys(plan.job_references, _LEFT_OUT),
        attempt_id=item.id,
        marker=item.marker,
        variation=item.variation or 0,
        callback_url=callback if callback_base else None,
        count=item.count,
    )
