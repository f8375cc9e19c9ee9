"""Who is calling: bearer keys, looked up once and remembered for a moment."""

import time
from collections.abc import Callable

from models.database import Database
from models.failure import RequestRefused
from models.keys import Key, find_key, key_hash, looks_like_a_key

#: How long a good key is not looked up again, in seconds: a submit costs no extra round trip, and
#: a revoked key is refused everywhere after at most so long.
REMEMBERED = 5.0
#: Keys remembered at once; past that the memory starts over.
_MOST = 10_000


class Keyring:
    """The keys that one process has lately seen to be good; bad ones are asked about each time."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._good: dict[bytes, tuple[Key, float]] = {}

    async def identify(self, authorization: str | None) -> Key:
        """The key behind an Authorization header.

        Raises:
            RequestRefused: authentication_error, without telling a revoked key from an unknown one.
            DatabaseAway: it can't be looked up.
        """
        plain = _bearer(authorization)
        hashed = key_hash(plain)
        key, until = self._good.get(hashed, (None, 0.0))
        if key is not None and self._clock() < until:
            return key
        asked_at = self._clock()
        key = await self._database.run(lambda connection: find_key(connection, plain))
        if key is None:
            self._good.pop(hashed, None)
            raise _refused("the API key is not known, or was revoked")
        if len(self._good) >= _MOST:
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
            "the Authorization header must be Bearer and a key, which is lt_ and 32 characters"
        )
    return plain


def _refused(message: str) -> RequestRefused:
    return RequestRefused(message, type="authentication_error", param="Authorization")
