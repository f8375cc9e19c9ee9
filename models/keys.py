"""API keys: authenticate tenants, can be revoked or expire, and are stored only as hashes.

A key is `lt_`, 32 characters of base 32 (160 random bits) and 6 of base 62: the CRC-32 of the 32.
The checksum tells secret scanners a key from other text, and a mistyped key costs no look-up. Keys
that were made before have no checksum, and stay valid.
"""

import base64
import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from models.database import Connection, fetch_ids
from models.ids import new_id

_KEY = re.compile(r"lt_([a-z2-7]{32})([0-9A-Za-z]{6})?", re.ASCII)
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

#: Characters of a key shown in lists: `lt_` and 30 of its 160 random bits.
_SHOWN = 9
#: Seconds between two writes of a key's last use.
USE_WRITTEN_EVERY: Final = 60.0
#: The longest lifetime of a key that expires, in seconds: ten years.
LONGEST_LIFE: Final = 10 * 365 * 86_400

#: SQL: of a row of `api_key`, whether requests with the key are accepted.
IS_VALID: Final = "(api_key.revoked_at IS NULL AND coalesce(api_key.expires_at > now(), true))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that is not revoked, and its tenant."""

    id: str
    tenant: str
    is_admin: bool
    #: When it expired, if it has.
    expired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """A key as listed for operators, including revoked ones."""

    id: str
    tenant: str
    prefix: str
    is_admin: bool
    created_at: datetime
    #: To the minute; None: never since uses are noted.
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


async def create_key(
    connection: Connection,
    tenant: str,
    *,
    is_admin: bool = False,
    lives: float | None = None,
) -> tuple[str, str]:
    """Create a key, and its tenant if missing; returns its id and the key itself.

    It expires after `lives` seconds, or never.

    Raises:
        ValueError: the tenant's name is invalid, or `lives` is not up to `LONGEST_LIFE`.
    """
    if lives is not None and not 0 < lives <= LONGEST_LIFE:
        msg = f"a key lives for up to {LONGEST_LIFE} seconds (it is {lives:g})"
        raise ValueError(msg)
    if not is_tenant_name(tenant):
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
        INSERT INTO api_key (id, tenant, hash, prefix, is_admin, expires_at)
        VALUES (%s, %s, %s, %s, %s, now() + %s * interval '1 second')
        """,
        (id_, tenant, key_hash(plain), plain[:_SHOWN], is_admin, lives),
    )
    return id_, plain


async def find_key(connection: Connection, plain: str) -> Key | None:
    """The key for a bearer token, expired or not; None if unknown or revoked."""
    if not looks_like_a_key(plain):
        return None
    cursor = await connection.execute(
        """
        SELECT id, tenant, is_admin, CASE WHEN expires_at <= now() THEN expires_at END AS expired_at
        FROM api_key WHERE hash = %s AND revoked_at IS NULL
        """,
        (key_hash(plain),),
    )
    row = await cursor.fetchone()
    return Key(**row) if row else None


async def valid_keys(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the keys that are neither revoked nor expired."""
    sql = f"SELECT id FROM api_key WHERE id = ANY(%s) AND {IS_VALID}"  # noqa: S608 - a constant
    return set(await fetch_ids(connection, sql, (list(ids),)))


async def note_use(connection: Connection, uses: Mapping[str, float]) -> None:
    """Note keys' last uses: how many seconds ago each was used, by id.

    Of one that was noted less than `USE_WRITTEN_EVERY` seconds before, by whichever process,
    nothing is written.
    """
    await connection.execute(
        """
        WITH used AS (  -- what another process writes is not waited for
            SELECT api_key.id, now() - used.ago * interval '1 second' AS at
            FROM unnest(%(ids)s::text[], %(agos)s::float8[]) AS used (id, ago)
                 JOIN api_key USING (id)
            WHERE coalesce(
                last_used_at <= now() - (used.ago + %(every)s) * interval '1 second', true)
            FOR NO KEY UPDATE OF api_key SKIP LOCKED)
        UPDATE api_key SET last_used_at = used.at FROM used WHERE api_key.id = used.id
        """,
        {"ids": list(uses), "agos": list(uses.values()), "every": USE_WRITTEN_EVERY},
    )


async def list_keys(connection: Connection, tenant: str | None = None) -> list[ListedKey]:
    """The keys of a tenant, or of all, oldest first."""
    cursor = await connection.execute(
        """
        SELECT id, tenant, prefix, is_admin, created_at, last_used_at, expires_at, revoked_at
        FROM api_key
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


def is_tenant_name(name: str) -> bool:
    """Whether a tenant may have this name."""
    return _TENANT.fullmatch(name) is not None


def new_plain_key() -> str:
    """`lt_`, 160 random bits in base 32, and their checksum."""
    random = base64.b32encode(secrets.token_bytes(20)).decode().lower()
    return f"lt_{random}{checksum(random)}"


def checksum(random: str) -> str:
    """The CRC-32 of a key's random characters in base 62, padded to 6."""
    rest, digits = zlib.crc32(random.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _BASE62[digit] + digits
    return digits


def looks_like_a_key(plain: str) -> bool:
    """Whether the text has the form of a key and, but for older keys, its right checksum."""
    match = _KEY.fullmatch(plain)
    return match is not None and match[2] in {None, checksum(match[1])}


def key_hash(plain: str) -> bytes:
    return hashlib.sha256(plain.encode()).digest()
