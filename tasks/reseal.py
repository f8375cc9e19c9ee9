"""Rotation of secrets at rest: what was sealed under an old key is sealed anew under the newest."""

from models.database import Connection
from tasks.engine import Engine

#: Rows of one transaction.
BATCH = 200

#: Every sealed column, by table and key: a test compares it with the schema.
SEALED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("job", "id", ("scene", "webhook")),
    ("output", "id", ("source",)),
    ("delivery", "id", ("target", "body")),
    ("idempotency", "job", ("response",)),
)


async def reseal(engine: Engine) -> int:
    """Seal every stored secret with the newest key; returns the number of values. Repeatable.

    Afterwards the old keys may leave LONGTAKE_SECRET_KEYS; links that they signed die with them.

    Raises:
        VaultError: a value opens with none of the keys.
    """
    total = 0
    for table, key, columns in SEALED:
        for column in columns:
            total += await _reseal_column(engine, table, key, column)
    return total


async def _reseal_column(engine: Engine, table: str, key: str, column: str) -> int:
    after, total = "", 0
    while True:

        async def work(connection: Connection, after: str = after) -> tuple[str, int]:
            cursor = await connection.execute(
                f"""
                SELECT {key} AS key, {column} AS sealed FROM {table}
                WHERE {key} > %s AND {column} IS NOT NULL ORDER BY {key} LIMIT %s FOR UPDATE
                """,  # noqa: S608 - names of our own tables
                (after, BATCH),
            )
            rows = await cursor.fetchall()
            fresh = [engine.vault.reseal(row["sealed"]) for row in rows]
            await connection.execute(
                f"""
                UPDATE {table} SET {column} = new.sealed
                FROM unnest(%s::text[], %s::bytea[], %s::bytea[]) AS new(key, old, sealed)
                WHERE {table}.{key} = new.key AND {table}.{column} = new.old
                """,  # noqa: S608 - names of our own tables
                ([row["key"] for row in rows], [row["sealed"] for row in rows], fresh),
            )
            return (rows[-1]["key"] if rows else ""), len(rows)

        after, count = await engine.database.run(work)
        total += count
        if count < BATCH:
            return total
