"""What one attempt is estimated to cost."""

#: SQL: an attempt's share of its job's estimate, by videos, in millionths of a US dollar. It reads
#: `attempt` and `job`.
SHARE_OF_ESTIMATE = """round(
    job.estimated_cost_micros * attempt.count
    / greatest(1, (SELECT count(*) FROM output WHERE output.job = job.id))::numeric)::bigint"""
