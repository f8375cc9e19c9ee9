"""Use cases of gates: create, read, list, replace and delete; each returns typed rows."""

from psycopg.errors import UniqueViolation

from catalog.models import Catalog
from models.budgets import lock_tenant, set_gate_limit
from models.database import Connection, fetch_ids, fetch_row, fetch_rows
from models.failure import RequestRefused
from models.gate import GateRequest
from models.ids import new_id
from models.records import Json, columns, placeholders, values
from models.rows.gates import GateRow, NewGate
from tasks.engine import Engine
from tasks.view import iso, usd

_SELECT = f"SELECT {columns(GateRow)} FROM gate WHERE tenant = %(tenant)s"  # noqa: S608 - columns of our own
_EVERYONES = f"SELECT {columns(GateRow)} FROM gate WHERE true"  # noqa: S608 - as above


async def create(engine: Engine, wanted: GateRequest, *, tenant: str) -> GateRow:
    """Create the tenant's gate; raises RequestRefused (also `conflict`, for a name in use)."""
    check_models(wanted, engine.catalog)
    new = _row(wanted, id_=new_id("gate"), tenant=tenant)
    sql = f"""
    INSERT INTO gate ({columns(NewGate)}) VALUES ({placeholders(NewGate)})
    ON CONFLICT (id) DO UPDATE SET name = excluded.name
    RETURNING {columns(GateRow)}
    """  # noqa: S608 - columns of our own; a conflict is with this commit, whose answer was lost
    return await _write(engine, sql, new)


async def replace(engine: Engine, name: str, wanted: GateRequest, *, tenant: str) -> GateRow:
    """Replace all that the tenant's gate says; its jobs keep the plans that they have.

    Raises:
        RequestRefused: `not_found`, `conflict` for another gate's name, or an unknown model.
    """
    check_models(wanted, engine.catalog)
    old = await read(engine, name, tenant=tenant)
    new = _row(wanted, id_=old.id, tenant=tenant)
    sql = f"""
    UPDATE gate SET name = %(name)s, strategy = %(strategy)s, routing = %(routing)s,
                    spending_limit_micros = %(spending_limit_micros)s, updated_at = now()
    WHERE id = %(id)s RETURNING {columns(GateRow)}
    """  # noqa: S608 - columns of our own
    return await _write(engine, sql, new)


async def read(engine: Engine, name: str, *, tenant: str) -> GateRow:
    """The tenant's gate, by id or name; raises RequestRefused (`not_found`)."""
    return await engine.database.run(lambda c: find_gate(c, name, tenant=tenant))


async def list_newest(
    engine: Engine, *, tenant: str | None, limit: int, after: str | None = None
) -> list[GateRow]:
    """Up to `limit` of the tenant's gates, or for None of all, newest first, after gate `after`."""
    found = _EVERYONES if tenant is None else _SELECT
    sql = f"""{found} AND (%(after)s::text IS NULL OR id < %(after)s)
              ORDER BY id DESC LIMIT %(limit)s"""
    wanted = {"tenant": tenant, "after": after, "limit": limit}
    return await engine.database.run(lambda c: fetch_rows(c, GateRow, sql, wanted))


async def delete(engine: Engine, name: str, *, tenant: str) -> GateRow:
    """Delete the tenant's gate; its jobs go on. Raises RequestRefused (`not_found`)."""
    gate = await read(engine, name, tenant=tenant)

    async def work(connection: Connection) -> None:  # twice, if the first commit's answer was lost
        await connection.execute("DELETE FROM gate WHERE id = %s", (gate.id,))

    await engine.database.run(work)
    return gate


def gate_view(gate: GateRow) -> Json:
    """The public JSON of a gate."""
    limit = gate.spending_limit_micros
    return {
        "id": gate.id,
        "object": "gate",
        "name": gate.name,
        "strategy": gate.strategy,
        "model": gate.routing["model"],
        "fallback_models": gate.routing["fallback_models"],
        "overrides": gate.routing["overrides"],
        "spending_limit_usd": None if limit is None else usd(limit),
        "created_at": iso(gate.created_at),
        "updated_at": iso(gate.updated_at),
    }


async def find_gate(connection: Connection, name: str, *, tenant: str) -> GateRow:
    """The tenant's gate, by id or name; raises RequestRefused (`not_found`)."""
    found = None
    if name.isprintable():
        wanted = {"tenant": tenant, "name": name}
        sql = f"{_SELECT} AND (id = %(name)s OR name = %(name)s)"
        found = await fetch_row(connection, GateRow, sql, wanted)
    if found is None:
        msg = (
            f"gate {name[:64]!r} not found: `gate` must be the id or the name of one of your gates"
        )
        raise RequestRefused(msg, type="not_found", code="gate_not_found", param="gate")
    return found


def check_models(wanted: GateRequest, catalog: Catalog) -> None:
    """Refuse a model that is unknown, is named twice, or is the gate's own name.

    A gate chooses among models and never among gates, so gates can't form a loop.
    """
    seen: dict[tuple[str, ...], str] = {}
    for at, name in enumerate(wanted.models):
        param = f"fallback_models.{at - 1}" if at else "model"
        if name == wanted.name:
            msg = f"{param} must be a model, and not the gate itself (it is {name!r})"
            raise RequestRefused(msg, param=param)
        try:
            model = catalog.find(name)
        except RequestRefused as refusal:
            message = refusal.message.replace("model", param, 1)
            raise RequestRefused(message, param=param) from None
        same = (model.name, *model.routes)
        if same in seen:
            msg = f"{param} must be another model than {seen[same]} (it is {name!r})"
            raise RequestRefused(msg, param=param)
        seen[same] = param


def _row(wanted: GateRequest, *, id_: str, tenant: str) -> NewGate:
    limit = wanted.spending_limit_usd
    overrides = wanted.overrides if isinstance(wanted.overrides, str) else list(wanted.overrides)
    return NewGate(
        id=id_,
        tenant=tenant,
        name=wanted.name,
        strategy=wanted.strategy.value,
        routing={
            "model": wanted.model,
            "fallback_models": list(wanted.fallback_models),
            "overrides": overrides,
        },
        spending_limit_micros=None if limit is None else round(limit * 1_000_000),
    )


async def _write(engine: Engine, sql: str, new: NewGate) -> GateRow:
    async def work(connection: Connection) -> GateRow:
        # The gate before its tenant, as a submission that takes a turn.
        held = "SELECT (spending_limit_micros IS NOT NULL)::text FROM gate WHERE id = %s"
        had_limit = "true" in await fetch_ids(connection, f"{held} FOR NO KEY UPDATE", (new.id,))
        limit = new.spending_limit_micros
        if had_limit or limit is not None:
            await lock_tenant(connection, new.tenant)
            await set_gate_limit(connection, new.tenant, new.id, limit_micros=limit)
        written = await fetch_row(connection, GateRow, sql, values(new))
        if written is None:
            raise RequestRefused(f"gate {new.id!r} not found", type="not_found", param="gate")
        return written

    try:
        return await engine.database.run(work)
    except UniqueViolation:
        msg = f"name must be unique: you have another gate {new.name!r}"
        raise RequestRefused(msg, type="conflict", code="gate_exists", param="name") from None
