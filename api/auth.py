"""Authentication: bearer keys, looked up in the database and cached briefly."""

import time
from collections.abc import Callable

from api.key_use import KeyUses
from models.database import Database
from models.failure import RequestRefused
from models.keys import Key, find_key, key_hash, looks_like_a_key
from tasks.view import iso

#: Cache lifetime of a valid key, in seconds: a submit needs no extra round trip, and a revoked key
#: is refused everywhere within this time.
REMEMBERED = 5.0
#: Maximum cached keys; the cache is cleared beyond that.
_MAX_CACHED = 10_000


class Keyring:
    """One process's cache of valid keys; invalid ones are looked up each time."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._good: dict[bytes, tuple[Key, float]] = {}
        #: Notes which keys were used.
        self.uses = KeyUses(database, clock=clock)

    def remembers(self, authorization: str) -> bool:
        """Whether it has a key that was valid within the last REMEMBERED seconds."""
        hashed = key_hash(authorization.partition(" ")[2].strip())
        _, until = self._good.get(hashed, (None, 0.0))
        return self._clock() < until

    def has_seen(self, header: str) -> bool:
        """Whether it ends with a key that was valid when last looked up, however long ago."""
        return key_hash(header.rpartition(" ")[2]) in self._good

    async def identify(self, authorization: str | None) -> Key:
        """The key for an Authorization header.

        Raises:
            RequestRefused: authentication_error, the same for unknown and revoked keys; an expired
                one is told so, with the code `key_expired`.
            DatabaseAway: the database is unavailable.
        """
        plain = _bearer(authorization)
        hashed = key_hash(plain)
        key, until = self._good.get(hashed, (None, 0.0))
        if key is not None and self._clock() < until:
            self.uses.note(key.id)
            return key
        asked_at = self._clock()
        key = await self._database.run(lambda connection: find_key(connection, plain))
        if key is None:
            self._good.pop(hashed, None)
            raise _refused("the API key is unknown or revoked")
        if key.expired_at is not None:
            self._good.pop(hashed, None)
            msg = f"the API key expired at {iso(key.expired_at)}: ask for a new one"
            raise _refused(msg, code="key_expired")
        self.uses.note(key.id)
        if len(self._good) >= _MAX_CACHED:
            self._good.clear()
        self._good[hashed] = (key, asked_at + REMEMBERED)
        return key


def _bearer(authorization: str | None) -> str:
    if authorization is None:
        raise _refused("an API key is required: send the header Authorization: Bearer lt_…")
    scheme, _, plain = authorization.partition(" ")
    plain = plain.strip()
    if scheme.lower() != "bearer" or not looks_like_a_key(plain):
        raise _refused(
            "the Authorization header must be Bearer and an API key: lt_ and 38 characters, of "
            "which the last 6 are a checksum, or 32 of an older key"
        )
    return plain


def _refused(message: str, *, code: str | None = None) -> RequestRefused:
    return RequestRefused(message, type="authentication_error", code=code, param="Authorization")
