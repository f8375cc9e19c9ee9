"""Perf's judge: the curl examples of docs.withperf.pro/api-reference/video, as printed."""

from tests.conformance.judging import Case, Judge, ask
from tests.conformance.replaying import CAPTURED, replaying

ID = "job_vid_abc123"
CREATE, POLL = (
    (CAPTURED / name).read_text("utf-8") for name in ("perf_create.curl.txt", "perf_poll.curl.txt")
)

PERF = Judge(
    credentials={"PERF_API_KEY": "pk_live_abc123"},
    base_path="",
    client=replaying,
    cases=(
        Case(
            "submit text",
            sdk=lambda client: client.curl(CREATE),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="runway-gen3",
                    prompt=(
                        "A serene mountain landscape with flowing water and dramatic clouds, "
                        "cinematic quality"
                    ),
                    duration_seconds=8,
                    resolution="1080p",
                )
            ),
            answer={"id": ID, "status": "pending"},
            status=202,
        ),
        Case(
            "poll",
            sdk=lambda client: client.curl(POLL),
            ours=lambda provider: provider.poll([ID]),
            answer={"id": ID, "status": "processing", "progress_percent": 45},
        ),
    ),
)
