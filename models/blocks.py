"""Blocks: accounts that their providers refuse, and the probes that find out when that is over.

A refusal of the key, of credits or for a long time blocks the account: nothing more is sent by it,
in any process. At growing intervals one attempt is sent all the same; the provider's taking it ends
the block, and so does an operator. A probe is named by the token of its try.
"""

import random
from dataclasses import dataclass

from models.accounts import UNBLOCKED, forget_empty
from models.database import Connection, fetch_ids, fetch_row
from models.rows.accounts import Block
from models.verbs import What

#: Seconds until a probe: doubled by each that is refused.
FIRST_PROBE, LONGEST_PROBE = 30.0, 600.0
#: For so many seconds an account that took one model is not blocked for a refusal of another.
LATELY = 120
#: Maximum time for which a provider's Retry-After blocks its account, in seconds.
LONGEST_ASKED = 3600.0


def _model(table: str) -> str:
    """SQL: the model that an attempt's route is of, whatever its duration."""
    return f"regexp_replace({table}.route, '/[^/]*$', '')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """An account's block, as a refusal left it."""

    #: Whether the refusal began it.
    is_new: bool
    #: Whether it was the refusal that set the time of the next probe.
    is_latest: bool
    #: Seconds until the next probe.
    wait: float


async def is_contradicted(connection: Connection, attempt: str) -> bool:
    """Whether the account took a later attempt, or lately one of another model.

    Then the refusal says something of the attempt, such as of its model, and not of the account.
    """
    found = await fetch_ids(
        connection,
        f"""
        SELECT other.id FROM attempt AS refused JOIN attempt AS other
            ON other.account = refused.account AND other.sent_at IS NOT NULL
            AND (other.sent_at > coalesce(refused.refused_at, refused.sent_at, now())
                 OR other.accepted_at > now() - %s * interval '1 second'
                 AND {_model("other")} <> {_model("refused")})
        WHERE refused.id = %s AND other.id <> refused.id AND other.accepted_at IS NOT NULL LIMIT 1
        """,  # noqa: S608 - constants
        (LATELY, attempt),
    )
    return bool(found)


async def block(
    connection: Connection,
    account: str,
    *,
    code: Block,
    reason: str,
    token: str,
    asked: float | None,
) -> Blocked:
    """Block an account that its provider refused, or put its next probe off if this was one.

    `asked` is the provider's Retry-After in seconds. The account's row stays locked.
    """
    row = await fetch_row(
        connection,
        Blocked,
        f"""
        INSERT INTO account_rule AS rule
            (name, block_code, block_reason, blocked_at, probe_at, probes)
        VALUES (%(account)s, %(code)s, %(reason)s, now(),
                now() + greatest(%(asked)s, {FIRST_PROBE} * %(spread)s) * interval '1 second', 1)
        ON CONFLICT (name) DO UPDATE
        SET block_code = excluded.block_code, block_reason = excluded.block_reason,
            blocked_at = coalesce(rule.blocked_at, excluded.blocked_at),
            probe_at = CASE
                WHEN rule.blocked_at IS NULL THEN excluded.probe_at
                WHEN rule.probe_by = %(token)s::uuid THEN now() + interval '1 second' * greatest(
                    %(asked)s, %(spread)s
                    * least({LONGEST_PROBE}, {FIRST_PROBE} * 2.0 ^ least(rule.probes, 10)))
                ELSE rule.probe_at END,
            probes = CASE WHEN rule.blocked_at IS NULL THEN 1
                          WHEN rule.probe_by = %(token)s::uuid THEN least(rule.probes + 1, 30000)
                          ELSE rule.probes END,
            probe_by = nullif(rule.probe_by, %(token)s::uuid)
        RETURNING rule.blocked_at = now() AS is_new, rule.probe_by IS NULL AS is_latest,
                  greatest(0, extract(epoch FROM rule.probe_at - now()))::float8 AS wait
        """,  # noqa: S608 - constants
        {
            "account": account,
            "code": code,
            "reason": reason,
            "token": token,
            "asked": min(asked or 0.0, LONGEST_ASKED),
            "spread": 1 + 0.2 * random.random(),
        },
    )
    if row is None:
        raise AssertionError  # an upsert without a condition returns its row
    return row


async def begin_probe(connection: Connection, account: str, *, token: str, lasts: float) -> None:
    """Have a try probe a blocked account, whose row the caller has locked; `lasts` in seconds."""
    await connection.execute(
        """
        UPDATE account_rule SET probe_by = %s, probe_at = now() + %s * interval '1 second'
        WHERE name = %s AND blocked_at IS NOT NULL
        """,
        (token, lasts, account),
    )


async def end_probe(connection: Connection, account: str, *, token: str, wait: float) -> bool:
    """Leave the block to another probe in `wait` seconds, if the try still probes."""
    return bool(
        await fetch_ids(
            connection,
            """
            UPDATE account_rule SET probe_by = NULL, probe_at = now() + %s * interval '1 second'
            WHERE name = %s AND blocked_at IS NOT NULL AND probe_by = %s::uuid RETURNING name
            """,
            (wait, account, token),
        )
    )


async def lift(connection: Connection, account: str) -> bool:
    """End a block, since the provider took an attempt; whether there was one.

    What waited for it is made due by `models.waking`, once this is committed.
    """
    lifted = await fetch_ids(
        connection,
        f"""
        UPDATE account_rule SET {UNBLOCKED} WHERE name = %s AND blocked_at IS NOT NULL
        RETURNING name
        """,  # noqa: S608 - a constant
        (account,),
    )
    if lifted:
        await forget_empty(connection)
    return bool(lifted)


async def summon(connection: Connection, account: str, *, wait: float) -> None:
    """Make one of the attempts that wait for an account due in `wait` seconds: the next probe.

    First come those whose model and whose tenant were not refused in this block, then those never
    refused, so that one tenant's model which the provider refuses does not keep the block. Without
    any that waits, whichever comes next probes.
    """
    await connection.execute(
        f"""
        WITH refused AS (
            SELECT {_model("attempt")} AS model, job.tenant
            FROM attempt JOIN job ON job.id = attempt.job
            WHERE attempt.account = %(account)s AND attempt.state = 'planned'
              AND attempt.refused_at >= (
                  SELECT blocked_at FROM account_rule WHERE name = %(account)s)
        ), next AS (
            SELECT due.what, due.id FROM due JOIN attempt ON attempt.id = due.id
            WHERE due.what = %(what)s AND due.lane = %(account)s AND due.lease IS NULL
              AND attempt.state = 'planned' AND attempt.parked_at IS NULL
              AND attempt.waits_for IS NOT NULL
            ORDER BY {_model("attempt")} IN (SELECT model FROM refused),
                     due.tenant IN (SELECT tenant FROM refused),
                     attempt.refused_at NULLS FIRST, attempt.due_since, due.id
            LIMIT 1 FOR UPDATE OF due SKIP LOCKED)
        UPDATE due SET at = now() + %(wait)s * interval '1 second' FROM next
        WHERE due.what = next.what AND due.id = next.id
        """,  # noqa: S608 - constants
        {"what": What.SUBMIT, "account": account, "wait": wait},
    )
