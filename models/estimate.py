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

#: SQL: the estimate of an attempt that was sent, as it was written then; of one that an older
#: version sent, or that is known from evidence alone, its share of its plan's.
ESTIMATE_WHEN_SENT = f"""coalesce(attempt.estimate_micros, (
    SELECT {SHARE_OF_ESTIMATE} FROM job WHERE job.id = attempt.job))"""  # noqa: S608 - a constant

#: SQL: what an attempt counts for under its account's cap: its estimate from the moment it is sent,
#: and its cost once it has ended, as in `COST_TO_US`.
AT_STAKE = f"""CASE attempt.state
    WHEN 'sent' THEN {ESTIMATE_WHEN_SENT}
    WHEN 'accepted' THEN {ESTIMATE_WHEN_SENT}
    WHEN 'unknown' THEN coalesce(attempt.cost_micros, {ESTIMATE_WHEN_SENT})
    WHEN 'succeeded' THEN coalesce(attempt.cost_micros, {ESTIMATE_WHEN_SENT})
    WHEN 'failed' THEN coalesce(attempt.cost_micros, 0)
    WHEN 'cancelled' THEN coalesce(attempt.cost_micros, 0)
    ELSE 0 END"""
