"""Sessions at the pages: a link that is used once opens one; only their hashes are stored.

What a link ends with, and what a session's cookie holds, has 256 random bits, so a plain SHA-256
keeps it.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from models.database import Connection, fetch_ids, fetch_row
from models.failure import RequestRefused
from models.ids import new_id
from models.keys import IS_VALID

#: Seconds in which a link may be used, and for which the session that it opens lasts.
LINK_LIVES: Final = 600.0
SESSION_LIVES: Final = 12 * 3600.0
#: Characters of a token.
_LENGTH: Final = len(secrets.token_urlsafe(32))

#: SQL: of a row of `page_session`, whether its key, if it has one, is still accepted.
_KEY_IS_VALID: Final = f"""(page_session.api_key IS NULL OR EXISTS (
    SELECT FROM api_key WHERE api_key.id = page_session.api_key AND {IS_VALID}))"""
#: SQL: whether requests with the session are accepted.
IS_OPEN: Final = f"(page_session.expires_at > now() AND {_KEY_IS_VALID})"
_COLUMNS: Final = "id, tenant, api_key, is_admin, is_read_only, expires_at AS ends_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser's session, or the one that a link is to open."""

    id: str
    tenant: str
    #: The id of the key that it acts for.
    api_key: str | None
    #: Whether it reads all tenants, lanes and accounts.
    is_admin: bool
    #: Whether it changes nothing.
    is_read_only: bool
    #: None before it is opened.
    ends_at: datetime | None


async def create_link(
    connection: Connection,
    tenant: str,
    *,
    key: str | None = None,
    is_admin: bool = False,
    is_read_only: bool = False,
) -> str:
    """What a link to the pages ends with; it opens one session, within LINK_LIVES.

    With the id of a `key` the session acts for it and ends with it.

    Raises:
        RequestRefused: the tenant is unknown, or has no such key that is valid.
    """
    await _check(connection, tenant, key=key, is_admin=is_admin)
    await connection.execute(
        """
        DELETE FROM page_session
        WHERE coalesce(expires_at, link_expires_at) < now() - interval '1 day'
        """
    )
    plain = secrets.token_urlsafe(32)
    await connection.execute(
        """
        INSERT INTO page_session
            (id, tenant, api_key, is_admin, is_read_only, link_hash, link_expires_at)
        VALUES (%s, %s, %s, %s, %s, %s, now() + %s * interval '1 second')
        """,
        (new_id("ses"), tenant, key, is_admin, is_read_only, _hash(plain), LINK_LIVES),
    )
    return plain


async def _check(connection: Connection, tenant: str, *, key: str | None, is_admin: bool) -> None:
    if not await fetch_ids(connection, "SELECT id FROM tenant WHERE id = %s", (tenant,)):
        msg = f"there is no tenant {tenant[:64]!r}; `longtake keys create --tenant` makes one"
        raise RequestRefused(msg, type="not_found", param="tenant")
    if key is None:
        return
    sql = f"SELECT is_admin::text FROM api_key WHERE id = %s AND tenant = %s AND {IS_VALID}"  # noqa: S608 - a constant
    found = await fetch_ids(connection, sql, (key, tenant))
    if not found:
        msg = f"tenant {tenant} has no valid key {key[:64]!r}; `longtake keys list` shows its keys"
        raise RequestRefused(msg, type="not_found", param="key")
    if is_admin and found != ["true"]:
        msg = f"key {key} is no admin's: leave out the key, or name one of `keys create --admin`"
        raise RequestRefused(msg, param="key")


async def find_link(connection: Connection, plain: str) -> Session | None:
    """What a link is to open; None if it is unknown, used or too old."""
    return await _find(
        connection,
        f"link_hash = %s AND opened_at IS NULL AND link_expires_at > now() AND {_KEY_IS_VALID}",
        plain,
    )


async def open_session(connection: Connection, link: str, cookie: str) -> Session | None:
    """Use a link: its session is the bearer's of `cookie` from now on; None as `find_link`.

    Of two requests at a time one gets it. The same one may ask again, after a commit without
    an answer.
    """
    if not _is_token(link):
        return None
    sql = f"""
    UPDATE page_session
    SET opened_at = now(), expires_at = now() + %(lives)s * interval '1 second', hash = %(hash)s
    WHERE link_hash = %(link)s AND (opened_at IS NULL OR hash = %(hash)s)
      AND link_expires_at > now() AND {_KEY_IS_VALID}
    RETURNING {_COLUMNS}
    """  # noqa: S608 - constants
    given = {"lives": SESSION_LIVES, "hash": _hash(cookie), "link": _hash(link)}
    return await fetch_row(connection, Session, sql, given)


async def find_session(connection: Connection, cookie: str) -> Session | None:
    """The session of a cookie; None if it is unknown or has ended."""
    return await _find(connection, f"hash = %s AND {IS_OPEN}", cookie)


async def end_session(connection: Connection, id_: str) -> None:
    """End a session; idempotent."""
    await connection.execute("DELETE FROM page_session WHERE id = %s", (id_,))


async def end_sessions(connection: Connection, tenant: str) -> int:
    """End all sessions and links of a tenant; returns how many there were."""
    sql = "DELETE FROM page_session WHERE tenant = %s RETURNING id"
    return len(await fetch_ids(connection, sql, (tenant,)))


async def _find(connection: Connection, where: str, plain: str) -> Session | None:
    if not _is_token(plain):
        return None
    sql = f"SELECT {_COLUMNS} FROM page_session WHERE {where}"  # noqa: S608 - constants
    return await fetch_row(connection, Session, sql, (_hash(plain),))


def _is_token(plain: str) -> bool:
    return len(plain) == _LENGTH and plain.isascii()


def _hash(plain: str) -> bytes:
    return hashlib.sha256(plain.encode()).digest()
