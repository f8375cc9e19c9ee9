"""What one attempt is estimated to cost, and what it has cost as far as we know."""

from models.rows.attempts import ESTIMATE

#: SQL: an attempt's share of its plan's estimate, by videos, in millionths of a US dollar. It reads
#: `attempt` and `job`.
SHARE_OF_ESTIMATE = f"""round(
    {ESTIMATE} * attempt.count
    / greatest(1, (SELECT count(*) FROM output WHERE output.job = job.id))::numeric)::bigint"""  # noqa: S608 - a constant

#: SQL: what an attempt has cost us. One without a known answer counts as paid for until it is
#: settled, and so does one that succeeded at a provider that states no price; a provider that
#: states none charges nothing for a failure.
COST_TO_US = f"""CASE attempt.state
    WHEN 'succeeded' THEN coalesce(attempt.cost_micros, {SHARE_OF_ESTIMATE})
    WHEN 'unknown' THEN coalesce(attempt.cost_micros, {SHARE_OF_ESTIMATE})
    WHEN 'failed' THEN coalesce(attempt.cost_micros, 0)
    WHEN 'cancelled' THEN coalesce(attempt.cost_micros, 0)
    ELSE 0 END"""

#: SQL: what an attempt counts for under its account's cap: its estimate from the moment it is sent,
#: and its cost once it has ended.
AT_STAKE = f"""CASE WHEN attempt.state IN ('sent', 'accepted') THEN {SHARE_OF_ESTIMATE}
    ELSE {COST_TO_US} END"""
