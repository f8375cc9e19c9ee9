"""A database as it is after a long time: finished jobs with all that belongs to them, by SQL."""

import psycopg

#: Lines of the finished batch, at most a tenth of the jobs; operations that are under way.
LINES, RUNNING = 100_000, 1000
#: The tenant of seven jobs in ten, and that of the others.
MOST, OTHERS = "default", "other"
BATCH = "batch_of_the_size"

#: A job's number is `n`; it ended so many days ago for the first, and just now for the last.
_NUMBERED = """
CREATE TEMP TABLE numbered AS
SELECT n, lpad(to_hex(n), 26, '0') AS id,
       CASE WHEN n %% 10 < 7 OR n < %(lines)s THEN %(most)s ELSE %(others)s END AS tenant,
       CASE WHEN n %% 100 < 96 THEN 'complete' WHEN n %% 100 < 99 THEN 'failed'
            ELSE 'cancelled' END AS state,
       now() - interval '2 minutes' - %(days)s * interval '1 day' * (1 - n::float8 / %(jobs)s) AS at
FROM generate_series(0, %(jobs)s - 1) AS n
"""
_FAILURE = """jsonb_build_object('fault', 'refused', 'code', 'provider_failed',
    'message', 'the provider could not make this video')"""
_JOBS = f"""
INSERT INTO job (id, tenant, request_id, batch_id, batch_line, custom_id, state, model, prompt,
                 request, plan, scene, progress_percent, progress_source, typical_seconds, error,
                 estimated_cost_micros, reserved_micros, cost_micros, unknown_policy, webhook,
                 deadline_at, created_at, accepted_at, finished_at, app_id)
SELECT 'job_vid_' || id, tenant, 'req_' || id,
       CASE WHEN n < %(lines)s THEN %(batch)s END, CASE WHEN n < %(lines)s THEN n + 1 END,
       CASE WHEN n < %(lines)s THEN 'line-' || n END, state, 'runway-gen3',
       'a prompt of ordinary length about a boat on a lake at dawn, number ' || n,
       jsonb_build_object('prompt', '', 'model', 'runway-gen3', 'duration_seconds', 5, 'seed', n,
                          'priority', 'normal', 'metadata', jsonb_build_object('number', n)),
       jsonb_build_object('model', 'runway-gen3', 'asked_model', 'runway-gen3', 'route',
           'runway/gen4.5/5s', 'provider', 'runway', 'account', 'runway', 'upstream', 'gen4.5',
           'scene', '{{}}'::jsonb, 'attempt_counts', '[1]'::jsonb, 'duration_seconds', 5,
           'resolution', '720p', 'aspect_ratio', '16:9', 'width', 1280, 'height', 720, 'fps', 24,
           'estimated_cost_micros', 250000, 'typical_seconds', '[40, 60, 120]'::jsonb),
       decode(repeat(md5(id), 16), 'hex'), CASE state WHEN 'complete' THEN 100 ELSE 50 END,
       'reported', 60, CASE WHEN state <> 'complete' THEN {_FAILURE} END, 250000, 250000,
       CASE state WHEN 'complete' THEN 250000 ELSE 0 END, 'at_most_once',
       CASE WHEN n >= %(lines)s THEN decode(repeat(md5(id), 10), 'hex') END,
       at + interval '1 day', at, at + interval '1 second', at + interval '90 seconds',
       CASE WHEN n %% 1000 = 500 THEN 'rare-app' ELSE 'app' END
FROM numbered ORDER BY n
"""  # noqa: S608 - constants
_ATTEMPTS = f"""
INSERT INTO attempt (id, job, provider, account, route, state, marker, payload_hash, answer_by,
                     estimate_micros, operation_id, progress, polls, seen_at, error, created_at,
                     sent_at, accepted_at, finished_at)
SELECT 'att_' || id, 'job_vid_' || id, 'runway', 'runway',
       'runway/gen4.5/' || CASE n %% 3 WHEN 0 THEN 5 ELSE 10 END || 's',
       CASE state WHEN 'complete' THEN 'succeeded' ELSE state END, 'mark_' || id,
       decode(repeat(md5(id), 2), 'hex'), at + interval '30 seconds', 250000, 'op-' || id, 0.9, 12,
       at + interval '80 seconds', CASE WHEN state <> 'complete' THEN {_FAILURE} END, at, at,
       at + interval '1 second', at + interval '80 seconds'
FROM numbered ORDER BY n
"""  # noqa: S608 - constants
_OUTPUTS = f"""
INSERT INTO output (id, job, attempt, position, state, key, sha256, bytes, content_type,
                    duration_seconds, width, height, fps, error, stored_at)
SELECT 'out_' || id, 'job_vid_' || id, 'att_' || id, 0,
       CASE state WHEN 'complete' THEN 'stored' ELSE 'failed' END,
       CASE state WHEN 'complete' THEN 'videos/2026/01/job_vid_' || id || '/out_' || id || '.mp4'
       END, md5(id) || md5(id), 2000000, 'video/mp4', 5, 1280, 720, 24,
       CASE WHEN state <> 'complete' THEN {_FAILURE} END,
       CASE state WHEN 'complete' THEN at + interval '88 seconds' END
FROM numbered ORDER BY n
"""  # noqa: S608 - constants
_EVENTS = """
INSERT INTO event (job, at, kind, detail)
SELECT 'job_vid_' || id, at + step * interval '20 seconds', kind,
       CASE kind WHEN 'submitting' THEN jsonb_build_object('attempt', 'att_' || id) ELSE '{}' END
FROM numbered, LATERAL unnest(CASE state
    WHEN 'complete' THEN ARRAY['pending', 'submitting', 'processing', 'storing', 'complete']
    ELSE ARRAY['pending', 'submitting', 'attempt.accepted', 'processing', state] END
) WITH ORDINALITY AS happened (kind, step)
ORDER BY n, step
"""
_DELIVERIES = """
INSERT INTO delivery (id, job, tenant, type, host, state, tries, target, body, created_at,
                      finished_at)
SELECT 'evt_' || id, 'job_vid_' || id, tenant,
       'video.' || CASE state WHEN 'complete' THEN 'completed' ELSE state END, 'hook.test',
       'delivered', 1, decode(repeat(md5(id), 10), 'hex'), decode(repeat(md5(id), 50), 'hex'),
       at + interval '90 seconds', at + interval '91 seconds'
FROM numbered WHERE n >= %(lines)s ORDER BY n
"""
_TRIES = """
INSERT INTO delivery_try (delivery, number, at, status, milliseconds, token)
SELECT 'evt_' || id, 1, at + interval '91 seconds', 200, 40, gen_random_uuid()
FROM numbered WHERE n >= %(lines)s ORDER BY n
"""
_KEYS = """
INSERT INTO idempotency (tenant, key, body_hash, job, response, created_at)
SELECT tenant, 'order-' || n, decode(repeat(md5(id), 2), 'hex'), 'job_vid_' || id,
       decode(repeat(md5(id), 50), 'hex'), at
FROM numbered WHERE n >= %(lines)s ORDER BY n
"""
_LEDGER = """
INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant, app_id, job, counts_at, at)
SELECT side.name || ' job_vid_' || numbered.id, side.account, side.amount, numbered.tenant,
       job.app_id, job.id, numbered.at, numbered.at
FROM numbered JOIN job ON job.id = 'job_vid_' || numbered.id, LATERAL (VALUES
    ('reserve', 'tenant:available', -250000), ('reserve', 'tenant:reserved', 250000),
    ('charge', 'tenant:reserved', -250000),
    ('charge', CASE numbered.state WHEN 'complete' THEN 'tenant:spent'
               ELSE 'tenant:available' END, 250000)) AS side (name, account, amount)
ORDER BY n
"""
_USAGE = """
INSERT INTO job_usage (tenant, created_at, job, app_id, model, provider, state, cost_micros, videos,
                       video_seconds, took_seconds)
SELECT tenant, at, 'job_vid_' || id, CASE WHEN n %% 1000 = 500 THEN 'rare-app' ELSE 'app' END,
       'runway-gen3', 'runway', state, CASE state WHEN 'complete' THEN 250000 ELSE 0 END,
       (state = 'complete')::int, CASE state WHEN 'complete' THEN 5 ELSE 0 END,
       CASE state WHEN 'complete' THEN 90 END
FROM numbered WHERE n < %(jobs)s - %(running)s ORDER BY n
"""
_BATCHES = """
INSERT INTO batch (id, tenant, state, options, lines, complete, failed, cancelled, released_to,
                   estimated_cost_micros, charged_micros, deadline_at, created_at, finished_at)
SELECT %(batch)s, %(most)s, 'completed', '{}', count(*), count(*) FILTER (WHERE state = 'complete'),
       count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'cancelled'),
       count(*), count(*) * 250000, sum(cost_micros), min(deadline_at), min(created_at),
       max(finished_at)
FROM job WHERE batch_id = %(batch)s
"""
#: Operations under way: the newest jobs are made so.
_RUNNING = (
    """
    CREATE TEMP TABLE running AS SELECT id, tenant FROM numbered ORDER BY n DESC LIMIT %(running)s
    """,
    """
    DELETE FROM event USING running
    WHERE job = 'job_vid_' || running.id AND kind IN ('storing', 'complete', 'failed', 'cancelled')
    """,
    "DELETE FROM delivery_try USING running WHERE delivery = 'evt_' || running.id",
    "DELETE FROM delivery USING running WHERE delivery.id = 'evt_' || running.id",
    "DELETE FROM ledger_entry USING running WHERE entry_set = 'charge job_vid_' || running.id",
    """
    UPDATE job SET state = 'processing', progress_percent = 50, error = NULL, cost_micros = NULL,
                   finished_at = NULL FROM running WHERE job.id = 'job_vid_' || running.id
    """,
    """
    UPDATE attempt SET state = 'accepted', error = NULL, finished_at = NULL
    FROM running WHERE attempt.id = 'att_' || running.id
    """,
    """
    UPDATE output SET state = 'expected', key = NULL, error = NULL, stored_at = NULL
    FROM running WHERE output.id = 'out_' || running.id
    """,
    """
    INSERT INTO due (what, id, lane, tenant, at)
    SELECT 'poll', 'att_' || id, 'runway', tenant, now() FROM running
    """,
    """
    INSERT INTO due (what, id, lane, tenant, at)
    SELECT 'expire', 'job_vid_' || id, '-', tenant, now() + interval '1 day' FROM running
    """,
)


def fill(database: str, *, jobs: int, days: float = 60) -> None:
    """Insert so many jobs of the last days, five events for each, and all else that each has.

    Foreign keys and triggers are off meanwhile: `doctor` finds nothing wrong in what is made.
    """
    lines = min(LINES, jobs // 10)
    given = {
        "jobs": jobs,
        "lines": lines,
        "running": min(RUNNING, jobs // 10),
        "batch": BATCH,
        "most": MOST,
        "others": OTHERS,
        "days": days,
    }
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute("INSERT INTO tenant (id) VALUES (%s) ON CONFLICT DO NOTHING", (OTHERS,))
        for statement in (
            *(_NUMBERED, _JOBS, _ATTEMPTS, _OUTPUTS, _EVENTS, _DELIVERIES, _TRIES, _KEYS),
            *(_LEDGER, _USAGE, _BATCHES, *_RUNNING),
        ):
            connection.execute(statement, given)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
