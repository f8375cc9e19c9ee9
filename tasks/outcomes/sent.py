"""What is committed with `sent`: all that is later waited for, looked up and proven by.

The worker that finds an attempt may know other time-outs, another public address and other
credentials than the one that sent it, so an absence is proven from the attempt's row alone.
"""

import hashlib
import json
from dataclasses import dataclass
from urllib.parse import unquote

from models.database import Connection
from providers.base import Account
from transport.base import Request

#: How long after its time-out a POST's answer may still be on its way to us, in seconds.
ANSWER_MARGIN = 5.0
#: How long after that a POST may still be on its way in at the provider, in seconds.
ARRIVAL_MARGIN = 10.0
#: SQL: when the last answer to a POST may come; workers of an older version wrote no `answer_by`,
#: and the settings allow no time-outs that come to more.
ANSWER_BY = "coalesce(attempt.answer_by, attempt.sent_at + interval '25 minutes')"
#: SQL: from when on finding nothing counts.
ABSENT_AFTER = "coalesce(attempt.absent_after, attempt.sent_at + interval '30 minutes')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One paid POST that is about to leave, as its attempt's row will tell of it."""

    attempt: str
    job: str
    #: Names this very try: nobody else may take its commit back.
    token: str
    payload_hash: bytes
    #: Seconds from now until its answer is there or never comes.
    lasts: float
    #: Seconds by which the provider's listing or look-up may lag behind it.
    listed_after: float
    #: The public root of the callback address that is in the request; None where none is.
    callback_base: str | None
    sent_as: bytes


async def write_sent(connection: Connection, sending: Sending) -> str | None:
    """Mark a planned attempt as sent; its job, or None when it is not there to be sent.

    An attempt that this very try has marked already, by a commit whose answer was lost, is marked.
    One for which no video is expected is not sent: it would be paid for nobody.
    """
    cursor = await connection.execute(
        """
        UPDATE attempt SET
            state = 'sent', sent_at = now(), payload_hash = %(hash)s, sent_by = %(token)s,
            answer_by = now() + %(lasts)s * interval '1 second',
            absent_after = now() + %(absent)s * interval '1 second',
            callback_base = %(base)s, sent_as = %(as)s, negative_looks = 0, negative_at = NULL
        WHERE id = %(id)s AND state = 'planned' AND parked_at IS NULL AND EXISTS (
            SELECT 1 FROM output WHERE output.attempt = attempt.id AND output.state = 'expected')
        RETURNING job
        """,
        {
            "id": sending.attempt,
            "hash": sending.payload_hash,
            "token": sending.token,
            "lasts": sending.lasts,
            "absent": sending.lasts + ARRIVAL_MARGIN + sending.listed_after,
            "base": sending.callback_base,
            "as": sending.sent_as,
        },
    )
    row = await cursor.fetchone()
    if row is None:
        cursor = await connection.execute(
            "SELECT job FROM attempt WHERE id = %s AND state = 'sent' AND sent_by = %s::uuid",
            (sending.attempt, sending.token),
        )
        row = await cursor.fetchone()
    return row["job"] if row else None


async def take_back(
    connection: Connection, attempt: str, *, token: str | None, is_held: bool
) -> bool:
    """Plan an attempt again of which nothing was sent; False when it is not ours to say so.

    It is while the caller holds its due row, or when `token` names the try that marked it: a row
    that is `sent` is nobody else's to send, whatever has become of the lease.
    """
    cursor = await connection.execute(
        """
        UPDATE attempt SET
            state = 'planned', rejections = rejections + 1, sent_at = NULL, payload_hash = NULL,
            sent_by = NULL, answer_by = NULL, absent_after = NULL, callback_base = NULL,
            sent_as = NULL
        WHERE id = %s AND (state = 'planned' AND %s OR state = 'sent' AND sent_by = %s::uuid)
        RETURNING id
        """,
        (attempt, is_held, token),
    )
    return await cursor.fetchone() is not None


def payload_hash(request: Request) -> bytes:
    """What was sent, in 32 bytes: to compare with what a provider lists."""
    head = f"{request.method} {request.url}\n".encode()
    return hashlib.sha256(head + (request.content or b"")).digest()


def fingerprint(account: Account) -> bytes:
    """At whose account and where: SHA-256 over provider, base address and credentials."""
    what = [account.provider, account.base_url, sorted(account.credentials.items())]
    return hashlib.sha256(json.dumps(what).encode()).digest()


def base_in(request: Request, *, address: str | None, root: str | None) -> str | None:
    """`root` where the callback address below it is in the request, be it body, form or query."""
    if address is None:
        return None
    places = (
        unquote(request.url).encode(),
        request.content or b"",
        *(part.content for part in request.form),
    )
    return root if any(address.encode() in place for place in places) else None
