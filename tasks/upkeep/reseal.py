"""Key rotation: reseals every secret at rest with the newest key."""

from dataclasses import dataclass, field

from tasks.engine import Engine

#: Rows per query.
BATCH = 200

#: Every sealed column, by table and key: a test compares it with the schema.
SEALED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("job", "id", ("scene", "webhook")),
    ("output", "id", ("source",)),
    ("delivery", "id", ("target", "body")),
    ("idempotency", "job", ("response",)),
    ("submission", "id", ("response",)),
    ("intake_failure", "id", ("payload",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sealed:
    """A sealed value and the key of its row."""

    key: str
    sealed: bytes = field(repr=False)


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
    while True:
        rows = await engine.database.fetch(
            f"""
            SELECT {key} AS key, {column} AS sealed FROM {table}
            WHERE {key} > %s AND {column} IS NOT NULL ORDER BY {key} LIMIT %s
            """,  # noqa: S608 - names of our own tables
            (after, BATCH),
            row=_Sealed,
        )
        for row in rows:
            # One row per transaction, so that no other transaction waits for more than one of them.
            # A value that has changed since was sealed by its writer, so it is left alone.
            await engine.database.fetch(
                f"UPDATE {table} SET {column} = %s WHERE {key} = %s AND {column} = %s",  # noqa: S608 - as above
                (engine.vault.reseal(row.sealed), row.key, row.sealed),
            )
        total += len(rows)
        if len(rows) < BATCH:
            return total
        after = rows[-1].key
