"""Rotation of secrets at rest: what was sealed under an old key is sealed anew under the newest."""

from tasks.engine import Engine

#: Rows that are read at once.
BATCH = 200

#: Every sealed column, by table and key: a test compares it with the schema.
SEALED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("job", "id", ("scene", "webhook")),
    ("output", "id", ("source",)),
    ("delivery", "id", ("target", "body")),
    ("idempotency", "job", ("response",)),
    ("intake_failure", "id", ("payload",)),
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
        rows = await engine.database.fetch(
            f"""
            SELECT {key} AS key, {column} AS sealed FROM {table}
            WHERE {key} > %s AND {column} IS NOT NULL ORDER BY {key} LIMIT %s
            """,  # noqa: S608 - names of our own tables
            (after, BATCH),
        )
        for row in rows:
            # Each alone, so that no running transaction waits for more than one of these rows; a
            # value that changed meanwhile was sealed by whoever changed it.
            await engine.database.fetch(
                f"UPDATE {table} SET {column} = %s WHERE {key} = %s AND {column} = %s",  # noqa: S608 - as above
                (engine.vault.reseal(row["sealed"]), row["key"], row["sealed"]),
            )
        total += len(rows)
        if len(rows) < BATCH:
            return total
        after = rows[-1]["key"]
