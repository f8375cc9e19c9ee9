"""What one attempt is estimated to cost."""

from models.rows.attempts import ESTIMATE

#: SQL: an attempt's share of its plan's estimate, by videos, in millionths of a US dollar. It reads
#: `attempt` and `job`.
SHARE_OF_ESTIMATE = f"""round(
    {ESTIMATE} * attempt.count
    / greatest(1, (SELECT count(*) FROM output WHERE output.job = job.id))::numeric)::bigint"""  # noqa: S608 - a constant
