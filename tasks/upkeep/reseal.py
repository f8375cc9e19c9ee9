"""Key rotation: reseals every secret at rest with the newest key."""

import asyncio
import json
from functools import partial

from models.database import fetch_ids
from models.vault import Vault
from tasks.engine import Engine
from tasks.forms import FORMS
from tasks.letters import Letter, payload_at_rest

#: Rows per query.
BATCH = 200

#: Every sealed column, by table and key: a test compares it with the schema.
SEALED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("job", "id", ("scene", "webhook")),
    ("output", "id", ("source",)),
    ("delivery", "id", ("target", "body")),
    ("batch", "id", ("webhook",)),
    ("idempotency", "job", ("response",)),
    ("idempotency", "batch", ("response",)),
    ("submission", "id", ("response",)),
    ("intake_failure", "id", ("payload",)),
    ("picture", "id", ("sealed",)),
)


async def reseal(engine: Engine) -> int:
    """Seal every stored secret with the newest key; returns the number of values. Idempotent.

    Afterwards, and after `open_letters`, old keys may be removed from LONGTAKE_SECRET_KEYS, which
    also invalidates the links that they signed.

    Raises:
        VaultError: none of the keys opens a value.
    """
    total = 0
    for table, key, columns in SEALED:
        for column in columns:
            total += await _reseal_column(engine, table, key, column)
    return total


async def _reseal_column(engine: Engine, table: str, key: str, column: str) -> int:
    after, total = "", 0
    sql = f"""
    SELECT {key} FROM {table} WHERE {key} > %s AND {column} IS NOT NULL ORDER BY {key} LIMIT %s
    """  # noqa: S608 - names of our own tables
    while True:
        keys = await engine.database.run_statement(
            partial(fetch_ids, sql=sql, parameters=(after, BATCH))
        )
        for each in keys:
            await _reseal_one(engine, table, key, column, each)
        total += len(keys)
        if len(keys) < BATCH:
            return total
        after = keys[-1]


async def _reseal_one(engine: Engine, table: str, key: str, column: str, id_: str) -> None:
    """Reseal the values of one key: a picture may have megabytes, and nobody waits for others."""
    found = await engine.database.fetch(
        f"SELECT {column} AS sealed FROM {table} WHERE {key} = %s AND {column} IS NOT NULL",  # noqa: S608 - names of our own tables
        (id_,),
    )
    for row in found:
        # A value that has changed since was sealed by its writer, so it is left alone.
        await engine.database.fetch(
            f"UPDATE {table} SET {column} = %s WHERE {key} = %s AND {column} = %s",  # noqa: S608 - as above
            (engine.vault.reseal(row["sealed"]), id_, row["sealed"]),
        )


async def open_letters(engine: Engine) -> list[str]:
    """Open what senders sealed of dead letters, so that it is sealed as all else; idempotent.

    Returns the ids of those that can't be opened: they need the key that they were sealed with.

    Raises:
        VaultError: none of the keys opens a dead letter.
    """
    after, stay = "", list[str]()
    sql = """
    SELECT id FROM intake_failure WHERE id > %s AND payload IS NOT NULL ORDER BY id LIMIT %s
    """
    while True:
        ids = await engine.database.run_statement(
            partial(fetch_ids, sql=sql, parameters=(after, BATCH))
        )
        stay += [each for each in ids if not await _open_letter(engine, each)]
        if len(ids) < BATCH:
            return stay
        after = ids[-1]


async def _open_letter(engine: Engine, id_: str) -> bool:
    found = await engine.database.fetch(
        "SELECT task, task_id, payload FROM intake_failure WHERE id = %s AND payload IS NOT NULL",
        (id_,),
    )
    for row in found:
        new = await asyncio.to_thread(_without_seal, engine.vault, **row)
        if new is None:
            return False
        if new != row["payload"]:
            await engine.database.fetch(
                "UPDATE intake_failure SET payload = %s WHERE id = %s AND payload = %s",
                (new, id_, row["payload"]),
            )
    return True


def _without_seal(vault: Vault, task: str, task_id: str, payload: bytes) -> bytes | None:
    """The payload without its sender's seal; None if that can't be opened."""
    content = vault.open_json(payload)
    if "sealed" not in content.get("kwargs", {}):
        return payload
    letter = Letter(
        form=FORMS[task], task_id=task_id, args=content["args"], kwargs=content["kwargs"]
    )
    new = payload_at_rest(vault, letter)
    return None if "sealed" in json.loads(new)["kwargs"] else vault.seal(new)
