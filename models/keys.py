"""API keys: authenticate tenants, can be revoked, and are stored only as hashes."""

import base64
import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection, fetch_ids
from models.ids import new_id

_KEY = re.compile(r"lt_[a-z2-7]{32}", re.ASCII)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

#: Characters of a key shown in lists: `lt_` and 30 of its 160 random bits.
_SHOWN = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A valid key and its tenant."""

    id: str
    tenant: str
    is_admin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """A key as listed for operators, including revoked ones."""

    id: str
    tenant: str
    prefix: str
    is_admin: bool
    created_at: datetime
    revoked_at: datetime | None


async def create_key(
    connection: Connection, tenant: str, *, is_admin: bool = False
) -> tuple[str, str]:
    """Create a key, and its tenant if missing; returns its id and the key itself.

    Raises:
        ValueError: the tenant's name is invalid.
    """
    if not _TENANT.fullmatch(tenant):
        msg = (
            "a tenant's name must be 1 to 64 letters, digits, dots, dashes or underscores, "
            f"starting with a letter or digit (it is {tenant[:64]!r})"
        )
        raise ValueError(msg)
    id_, plain = new_id("key"), new_plain_key()
    await connection.execute(
        "INSERT INTO tenant (id) VALUES (%s) ON CONFLICT (id) DO NOTHING", (tenant,)
    )
    await connection.execute(
        """
        INSERT INTO api_key (id, tenant, hash, prefix, is_admin) VALUES (%s, %s, %s, %s, %s)
        """,
        (id_, tenant, key_hash(plain), plain[:_SHOWN], is_admin),
    )
    return id_, plain


async def find_key(connection: Connection, plain: str) -> Key | None:
    """The key for a bearer token, or None if unknown or revoked."""
    if not looks_like_a_key(plain):
        return None
    cursor = await connection.execute(
        "SELECT id, tenant, is_admin FROM api_key WHERE hash = %s AND revoked_at IS NULL",
        (key_hash(plain),),
    )
    row = await cursor.fetchone()
    return Key(**row) if row else None


async def valid_keys(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the keys that are not revoked."""
    sql = "SELECT id FROM api_key WHERE id = ANY(%s) AND revoked_at IS NULL"
    return set(await fetch_ids(connection, sql, (list(ids),)))


async def list_keys(connection: Connection, tenant: str | None = None) -> list[ListedKey]:
    """The keys of a tenant, or of all, oldest first."""
    cursor = await connection.execute(
        """
        SELECT id, tenant, prefix, is_admin, created_at, revoked_at FROM api_key
        WHERE %(tenant)s::text IS NULL OR tenant = %(tenant)s
        ORDER BY id
        """,
        {"tenant": tenant},
    )
    return [ListedKey(**row) for row in await cursor.fetchall()]


async def revoke_key(connection: Connection, id_: str) -> bool:
    """Revoke a key; False if unknown or already revoked.

    Processes that have cached the key accept it for a few more seconds: see `api.auth`.
    """
    cursor = await connection.execute(
        "UPDATE api_key SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL", (id_,)
    )
    return cursor.rowcount == 1


def new_plain_key() -> str:
    """`lt_` and 32 characters of base 32: 160 random bits."""
    return f"lt_{base64.b32encode(secrets.token_bytes(20)).decode().lower()}"


def looks_like_a_key(plain: str) -> bool:
    """Whether the text has the form of a key."""
    return _KEY.fullmatch(plain) is not None


def key_hash(plain: str) -> bytes:
    return hashlib.sha256(plain.encode()).digest()
