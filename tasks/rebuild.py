"""An attempt's request, rebuilt from its row: to send it, or to look it up."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from catalog.plan import Plan
from providers.base import Ask
from tasks.engine import Engine

#: Stands for a picture that a look-up does not send: that there was one may tell where to look.
_LEFT_OUT = "data:,"


class Planned(Protocol):
    """The columns that an attempt's plan is rebuilt from."""

    @property
    def id(self) -> str: ...
    @property
    def job(self) -> str: ...
    @property
    def plan(self) -> dict[str, Any]: ...
    @property
    def scene(self) -> bytes | None: ...


class Sendable(Planned, Protocol):
    """The columns that its request is rebuilt from."""

    @property
    def account(self) -> str: ...
    @property
    def marker(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def variation(self) -> int | None: ...


async def plan_of(engine: Engine, item: Planned) -> Plan:
    """The attempt's plan, with the job's sealed scene as its route supports it."""
    if item.scene is not None:
        scene = engine.vault.open_json(item.scene)
    else:  # an older version's, with pictures in it
        sql = "SELECT scene FROM job WHERE id = %s"
        (row,) = await engine.database.fetch(sql, (item.job,))
        scene = await asyncio.to_thread(engine.vault.open_json, row["scene"])
    scene |= item.plan.get("scene", {})
    return Plan.from_json({**item.plan, "scene": scene})


def ask_of(
    engine: Engine,
    item: Sendable,
    plan: Plan,
    *,
    pictures: Mapping[str, str] | None = None,
    callback_base: str | None = None,
) -> Ask:
    """The attempt's request; `pictures` are what its plan's stand for, which no look-up needs.

    `callback_base` is the public root of its callback address; without one it has none. A look-up
    takes it from the attempt's row: the address that was sent counts, not today's settings.
    """
    provider = engine.provider(item.account)
    callback = f"{callback_base}/callbacks/{provider.name}/{item.marker}"
    return plan.ask(
        pictures=dict.fromkeys((*plan.job_references, *plan.stored_pictures), _LEFT_OUT)
        | dict(pictures or {}),
        attempt_id=item.id,
        marker=item.marker,
        variation=item.variation or 0,
        callback_url=callback if callback_base else None,
        count=item.count,
    )
