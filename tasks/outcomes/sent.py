"""The facts committed with `sent`: later waits, look-ups and proofs of absence rely on them alone.

The worker that finds an attempt may have other timeouts, another public address and other
credentials than the one that sent it, so an absence is proven from the attempt's row alone.
"""

import hashlib
import json
from dataclasses import dataclass
from urllib.parse import unquote

from models.database import Connection
from models.estimate import SHARE_OF_ESTIMATE
from providers.base import Account
from transport.base import Request

#: Seconds after its timeout for which a POST's answer may still be on its way to us.
ANSWER_MARGIN = 5.0
#: Seconds after that for which the provider may still be taking the POST in.
ARRIVAL_MARGIN = 10.0
#: SQL: when the last answer to a POST can arrive; workers of an older version wrote no `answer_by`,
#: and the settings allow no timeouts that add up to more.
ANSWER_BY = "coalesce(attempt.answer_by, attempt.sent_at + interval '25 minutes')"
#: SQL: the time from which a look-up that finds nothing counts.
ABSENT_AFTER = "coalesce(attempt.absent_after, attempt.sent_at + interval '30 minutes')"

#: SQL: whether a `job` has time left to be sent: until its deadline, and until its start deadline
#: if no provider has accepted it yet.
HAS_TIME = """job.deadline_at > now()
    AND (job.start_by > now() OR job.start_by IS NULL OR job.accepted_at IS NOT NULL)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A paid POST that is about to be sent, as its attempt's row records it."""

    attempt: str
    job: str
    account: str
    #: Names this try: no other may take its commit back.
    token: str
    payload_hash: bytes
    #: Seconds from now until it is answered or has timed out.
    lasts: float
    #: Seconds by which the provider's listing or look-up may lag behind it.
    listed_after: float
    #: The public root of the callback address that is in the request; None where none is.
    callback_base: str | None
    sent_as: bytes


async def write_sent(connection: Connection, sending: Sending) -> str | None:
    """Mark a planned attempt as sent; returns its job, or None when it is not there to be sent.

    An attempt that this try has marked, by a commit whose answer was lost, counts as marked.
    One for which no video is expected, or whose job has run out of time, is not sent: it would be
    paid for in vain.
    """
    cursor = await connection.execute(
        f"""
        UPDATE attempt SET
            state = 'sent', sent_at = now(),
            payload_hash = %(hash)s, sent_by = %(token)s,
            estimate_micros = (SELECT {SHARE_OF_ESTIMATE} FROM job WHERE job.id = attempt.job),
            answer_by = now() + %(lasts)s * interval '1 second',
            absent_after = now() + %(absent)s * interval '1 second',
            callback_base = %(base)s, sent_as = %(as)s, negative_looks = 0, negative_at = NULL,
            waits_for = NULL, waits_since = NULL
        WHERE id = %(id)s AND account = %(account)s AND state = 'planned' AND parked_at IS NULL
          AND EXISTS (
            SELECT 1 FROM output WHERE output.attempt = attempt.id AND output.state = 'expected')
          AND EXISTS (
            SELECT 1 FROM job WHERE job.id = attempt.job AND {HAS_TIME})
        RETURNING job
        """,  # noqa: S608 - a constant
        {
            "id": sending.attempt,
            "account": sending.account,
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
    connection: Connection, attempt: str, *, token: str | None, is_held: bool, rejected: int = 1
) -> bool:
    """Plan an attempt again of which nothing was sent; False when the caller may not.

    The caller may while it holds the due row, or when `token` names the try that marked the
    attempt: no other worker sends a row that is `sent`, even after its lease has ended.
    `rejected` is 0 if nothing was tried.
    """
    cursor = await connection.execute(
        """
        UPDATE attempt SET
            state = 'planned', rejections = rejections + %s, sent_at = NULL, payload_hash = NULL,
            sent_by = NULL, answer_by = NULL, absent_after = NULL, callback_base = NULL,
            sent_as = NULL
        WHERE id = %s AND (state = 'planned' AND %s OR state = 'sent' AND sent_by = %s::uuid)
        RETURNING id
        """,
        (rejected, attempt, is_held, token),
    )
    return await cursor.fetchone() is not None


def payload_hash(request: Request) -> bytes:
    """A hash of the request, to compare with a provider's listing."""
    head = f"{request.method} {request.url}\n".encode()
    return hashlib.sha256(head + (request.content or b"")).digest()


def fingerprint(account: Account) -> bytes:
    """The account, as SHA-256 over provider, base URL and credentials."""
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
