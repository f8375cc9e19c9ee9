"""Pauses and caps of accounts: what holds a submit back, and how operators set and lift it.

What providers refuse is in `models.blocks`; it holds submits back here as well.

The transaction that commits an attempt as sent locks the account's row, if there is one, and counts
what the account's attempts of the period cost or may cost. Setting a cap locks the whole table,
which waits for the submits that have read it: so what was used before is exact as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection, fetch_ids, fetch_row, fetch_rows
from models.estimate import AT_STAKE, SHARE_OF_ESTIMATE
from models.rows.accounts import CapPeriod

#: Ends the name of the row that pauses all accounts of a provider.
_ALL = ":*"
#: SQL: the start and the end of the period of a rule's cap.
STARTS_AT = "coalesce(date_trunc(nullif(rule.cap_period, 'total'), now()), '-infinity')"
_RESETS_AT = """
    date_trunc(nullif(rule.cap_period, 'total'), now())
    + ('1 ' || nullif(rule.cap_period, 'total'))::interval
"""
#: SQL: whether a rule pauses now.
_IS_PAUSED = """
    rule.paused_at IS NOT NULL AND (rule.paused_until IS NULL OR rule.paused_until > now())
"""
#: SQL: whether a rule blocks now all but the attempt that probes.
_IS_BLOCKED = "rule.blocked_at IS NOT NULL AND rule.probe_at > now()"

#: SQL: the values that end a block.
UNBLOCKED = """block_code = NULL, block_reason = NULL, blocked_at = NULL,
    probe_at = NULL, probe_by = NULL, probes = 0"""

#: SQL: whether an `attempt`'s account has a rule.
HAS_RULE = f"""EXISTS (
    SELECT 1 FROM account_rule WHERE name IN (attempt.account, attempt.provider || '{_ALL}'))"""  # noqa: S608 - a constant


def spent_since(start: str, *, account: str, stake: str = AT_STAKE) -> str:
    """SQL: what attempts of an account that were sent since then cost or may cost."""
    return f"""(
    SELECT coalesce(sum({stake}), 0)::bigint FROM attempt
    WHERE attempt.account = {account} AND attempt.sent_at IS NOT NULL AND attempt.sent_at >= {start}
    )"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why an account takes no new submits, or not this one."""

    #: `paused`, `capped` or one of `Block`.
    code: str
    account: str
    #: The operator's words, the provider's, or the cap in words.
    reason: str
    #: Seconds until it ends by itself; None: never, or by a probe.
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """An attempt may be sent."""

    #: Whether its account is blocked, and this attempt shows whether it still is.
    is_probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    is_paused: bool
    pause_reason: str | None
    pause_ends_in: float | None
    is_blocked: bool
    block_code: str | None
    block_reason: str | None
    cap_micros: int | None
    cap_period: str | None
    cap_ends_in: float | None
    starts_at: datetime | None


_RULES = f"""
SELECT {_IS_PAUSED} AS is_paused, rule.pause_reason,
       extract(epoch FROM rule.paused_until - now())::float8 AS pause_ends_in,
       coalesce({_IS_BLOCKED}, false) AS is_blocked, rule.block_code, rule.block_reason,
       rule.cap_micros, rule.cap_period,
       extract(epoch FROM {_RESETS_AT} - now())::float8 AS cap_ends_in,
       date_trunc(nullif(rule.cap_period, 'total'), now()) AS starts_at
FROM account_rule AS rule WHERE rule.name = ANY(%s) ORDER BY rule.name
"""  # noqa: S608 - constants


async def permit_to_send(
    connection: Connection, account: str, *, provider: str, attempt: str, lock: bool
) -> Permit | Obstacle:
    """Whether an attempt may be sent by an account.

    With `lock` the account's row stays locked until the transaction ends, and the answer is exact
    among concurrent submits; without, it is a hint.
    """
    names = [account, provider + _ALL]
    sql = f"{_RULES} FOR NO KEY UPDATE" if lock else _RULES
    rules = await fetch_rows(connection, _Rule, sql, (names,))
    for rule in rules:
        if obstacle := _held_back_by(rule, account):
            return obstacle
    for rule in rules:
        if rule.cap_micros is not None and (
            obstacle := await _cap(connection, rule, account, attempt=attempt)
        ):
            return obstacle
    return Permit(is_probe=any(rule.block_code is not None for rule in rules))


def _held_back_by(rule: _Rule, account: str) -> Obstacle | None:
    if rule.is_paused:
        return Obstacle(
            code="paused",
            account=account,
            reason=rule.pause_reason or "paused by an operator",
            seconds=rule.pause_ends_in,
        )
    if rule.is_blocked and rule.block_code is not None:
        reason = rule.block_reason or ""
        return Obstacle(code=rule.block_code, account=account, reason=reason, seconds=None)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spending:
    spent: int
    asked: int


async def _cap(
    connection: Connection, rule: _Rule, account: str, *, attempt: str
) -> Obstacle | None:
    # A statement after the lock, to see what the lock's holders before us have committed.
    spending = await fetch_row(
        connection,
        _Spending,
        f"""
        SELECT rule.forgotten_micros
               + {spent_since(STARTS_AT, account="rule.name")}
               - (CASE WHEN asking.sent_at >= {STARTS_AT} THEN asking.counted ELSE 0 END) AS spent,
               asking.share AS asked
        FROM account_rule AS rule, (
            SELECT attempt.sent_at, {AT_STAKE} AS counted, {SHARE_OF_ESTIMATE} AS share
            FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.id = %(attempt)s) AS asking
        WHERE rule.name = %(account)s
        """,  # noqa: S608 - constants
        {"account": account, "attempt": attempt},
    )
    most = rule.cap_micros or 0
    if spending is None or spending.spent + spending.asked <= most:
        return None
    reason = (
        f"cap of ${most / 1e6:.6g} per {rule.cap_period}, of which ${spending.spent / 1e6:.6g} is "
        f"spent or may be; this attempt may cost ${spending.asked / 1e6:.6g}"
    )
    return Obstacle(code="capped", account=account, reason=reason, seconds=rule.cap_ends_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    name: str
    room: int


async def room(connection: Connection, accounts: Sequence[str]) -> dict[str, int]:
    """What accounts may still spend, in millionths of a US dollar; those without a rule: not named.

    Of a paused or blocked one it is 0. Without a lock: a hint for choosing, not a promise.
    """
    spent = f"rule.forgotten_micros - {spent_since(STARTS_AT, account='rule.name')}"
    rows = await fetch_rows(
        connection,
        _Room,
        f"""
        SELECT asked.name, coalesce(min(
                   CASE WHEN {_IS_PAUSED} OR {_IS_BLOCKED} THEN 0
                        WHEN rule.cap_micros IS NOT NULL THEN greatest(0, rule.cap_micros - {spent})
                   END), {2**62})::bigint AS room
        FROM unnest(%s::text[]) AS asked(name) JOIN account_rule AS rule
             ON rule.name IN (asked.name, split_part(asked.name, ':', 1) || '{_ALL}')
        GROUP BY asked.name
        """,  # noqa: S608 - constants
        (list(accounts),),
    )
    return {row.name: row.room for row in rows}


# -- what operators do ----------------------------------------------------------------------------


async def pause(
    connection: Connection, name: str, *, whole: bool, seconds: float | None, reason: str | None
) -> None:
    """Stop new submits of an account, or if `whole` of all accounts of a provider."""
    await connection.execute(
        """
        INSERT INTO account_rule (name, paused_at, paused_until, pause_reason)
        VALUES (%(name)s, now(), now() + %(seconds)s * interval '1 second', %(reason)s)
        ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at,
            paused_until = excluded.paused_until, pause_reason = excluded.pause_reason
        """,
        {"name": name + (_ALL if whole else ""), "seconds": seconds, "reason": reason},
    )


async def resume(connection: Connection, name: str, *, whole: bool) -> list[str]:
    """End pauses and blocks of an account, or if `whole` of a provider's accounts; their names.

    What waited for them is made due by `models.waking`, once this is committed.
    """
    ended = await fetch_ids(
        connection,
        f"""
        WITH ours AS (
            SELECT name FROM account_rule AS rule
            WHERE (paused_at IS NOT NULL OR blocked_at IS NOT NULL) AND (
                name = %(name)s OR (%(whole)s AND split_part(name, ':', 1) = %(name)s))
            ORDER BY name FOR NO KEY UPDATE)
        UPDATE account_rule
        SET paused_at = NULL, paused_until = NULL, pause_reason = NULL, {UNBLOCKED}
        FROM ours WHERE account_rule.name = ours.name
        RETURNING replace(ours.name, '{_ALL}', '')
        """,  # noqa: S608 - a constant
        {"name": name, "whole": whole},
    )
    await forget_empty(connection)
    return sorted(set(ended))


async def is_whole_paused(connection: Connection, provider: str) -> bool:
    """Whether all accounts of a provider are paused together."""
    sql = f"SELECT name FROM account_rule AS rule WHERE name = %s AND {_IS_PAUSED}"  # noqa: S608 - a constant
    return bool(await fetch_ids(connection, sql, (provider + _ALL,)))


async def set_cap(connection: Connection, account: str, *, micros: int, period: CapPeriod) -> None:
    """Set an account's cap; what it has spent in the period counts.

    What waited for the one before is made due by `models.waking`, once this is committed.
    """
    await _wait_for_submits(connection)
    await connection.execute(
        """
        INSERT INTO account_rule (name, cap_micros, cap_period) VALUES (%s, %s, %s)
        ON CONFLICT (name) DO UPDATE
        SET cap_micros = excluded.cap_micros, cap_period = excluded.cap_period,
            forgotten_micros = CASE WHEN account_rule.cap_period = excluded.cap_period
                                    THEN account_rule.forgotten_micros ELSE 0 END
        """,
        (account, micros, period),
    )
    await connection.execute(
        f"""
        UPDATE account_rule AS rule SET cap_set_at = now(), used_before_micros =
            rule.forgotten_micros + {spent_since(STARTS_AT, account="rule.name")}
        WHERE rule.name = %s
        """,  # noqa: S608 - constants
        (account,),
    )


async def remove_cap(connection: Connection, account: str) -> bool:
    """Whether there was one; `models.waking` makes due what waited for it, after the commit."""
    removed = await fetch_ids(
        connection,
        """
        UPDATE account_rule SET cap_micros = NULL, cap_period = NULL, cap_set_at = NULL,
                                used_before_micros = 0, forgotten_micros = 0
        WHERE name = %s AND cap_micros IS NOT NULL RETURNING name
        """,
        (account,),
    )
    await forget_empty(connection)
    return bool(removed)


async def _wait_for_submits(connection: Connection) -> None:
    """Wait for every submit that has read the table, and hold up the next ones."""
    await connection.execute("LOCK TABLE account_rule IN EXCLUSIVE MODE")


async def forget_empty(connection: Connection) -> None:
    """Delete the rows that say nothing any more."""
    await connection.execute(
        "DELETE FROM account_rule "
        "WHERE paused_at IS NULL AND cap_micros IS NULL AND blocked_at IS NULL"
    )


# -- what operators see ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An account, what holds it back, its cap, and what it does."""

    name: str
    paused_at: datetime | None
    paused_until: datetime | None
    pause_reason: str | None
    #: Since when and why its provider refuses it, and when that is looked at again.
    blocked_at: datetime | None
    block_code: str | None
    block_reason: str | None
    probe_at: datetime | None
    cap_micros: int | None
    cap_period: str | None
    #: In the cap's period, else in this month, in millionths of a US dollar.
    spent_micros: int
    #: Attempts that are to be sent, polled or looked up, and those of them that wait.
    unfinished: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Planned attempts that wait for an account, for one reason."""

    account: str
    code: str
    count: int


#: SQL: attempts that wait, by account and reason.
WAITING = """
SELECT attempt.account, attempt.waits_for AS code, count(*) AS count
FROM due JOIN attempt ON attempt.id = due.id
WHERE due.what = 'submit' AND attempt.state = 'planned' AND attempt.waits_for IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2
"""


async def waiting(connection: Connection) -> list[Waiting]:
    """How many attempts wait for which accounts."""
    return await fetch_rows(connection, Waiting, WAITING)


async def known_accounts(connection: Connection) -> list[str]:
    """The accounts that have attempts or rules; a paused provider's plain one is among them."""
    return await fetch_ids(
        connection,
        f"""
        WITH RECURSIVE used (name) AS (
            (SELECT account FROM attempt ORDER BY account LIMIT 1)
            UNION ALL
            SELECT (SELECT account FROM attempt WHERE account > used.name
                    ORDER BY account LIMIT 1)
            FROM used WHERE used.name IS NOT NULL)
        SELECT name FROM used WHERE name IS NOT NULL
        UNION SELECT replace(name, '{_ALL}', '') COLLATE "C" FROM account_rule
        ORDER BY 1
        """,  # noqa: S608 - a constant
    )


async def list_accounts(connection: Connection, names: Sequence[str]) -> list[Listed]:
    """Accounts with their rules and use, in the order of their names."""
    return await fetch_rows(
        connection,
        Listed,
        f"""
        SELECT asked.name, pause.paused_at, pause.paused_until, pause.pause_reason,
               rule.blocked_at, rule.block_code, rule.block_reason, rule.probe_at,
               rule.cap_micros, rule.cap_period,
               coalesce(rule.forgotten_micros, 0) + {
            spent_since(
                f"CASE WHEN rule.cap_period IS NULL THEN date_trunc('month', now()) "
                f"ELSE {STARTS_AT} END",
                account="asked.name",
            )
        } AS spent_micros,
               (SELECT count(*) FROM due WHERE due.lane = asked.name
                AND due.what IN ('submit', 'poll', 'look_up')) AS unfinished,
               (SELECT count(*) FROM due JOIN attempt ON attempt.id = due.id
                WHERE due.what = 'submit' AND due.lane = asked.name
                  AND attempt.waits_for IS NOT NULL) AS waiting
        FROM unnest(%s::text[]) AS asked(name)
        LEFT JOIN account_rule AS rule ON rule.name = asked.name
        LEFT JOIN LATERAL (
            SELECT rule.paused_at, rule.paused_until, rule.pause_reason FROM account_rule AS rule
            WHERE rule.name IN (asked.name, split_part(asked.name, ':', 1) || '{_ALL}')
              AND {_IS_PAUSED} ORDER BY rule.name LIMIT 1) AS pause ON true
        ORDER BY asked.name COLLATE "C"
        """,  # noqa: S608 - constants
        (list(names),),
    )
