"""Key rotation: reseals every secret at rest with the newest key."""

from functools import partial

from models.database import fetch_ids
from tasks.engine import Engine

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

    Afterwards old keys may be removed from LONGTAKE_SECRET_KEYS, which also invalidates the links
    that they signed.

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
