"""The baseline: one Celery task per poll, the straightforward correct implementation.

The HTTP client and database connection live as long as the process, results are ignored, messages
are acknowledged early, and a poll is one GET and one UPDATE. No leases, pacing or guard: Longtake
bears those costs in the comparison.
"""

from functools import cache
from typing import Any

import httpx
import psycopg
from celery import Celery

from providers.registry import vendor_variables
from settings import current

app = Celery("baseline", set_as_current=False)
app.add_defaults(
    lambda: {
        "broker_url": current().require_broker(),
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_default_queue": "baseline-idle",
        "broker_connection_retry_on_startup": True,
        "worker_hijack_root_logger": False,
    }
)

#: Timeout of one poll, in seconds.
_TIMEOUT = 10.0


@app.task(name="baseline.poll")
def poll(attempt: str, operation: str) -> None:
    """Poll one operation and write the result."""
    answer = _vendor().get(f"/v1/tasks/{operation}").raise_for_status().json()
    _database().execute(
        "UPDATE attempt SET progress = %s, polls = polls + 1 WHERE id = %s",
        (answer.get("progress"), attempt),
    )


@cache
def _vendor() -> httpx.Client:
    """First called in the child process, so that no connection is shared across the fork."""
    vendor = vendor_variables(current())
    return httpx.Client(
        base_url=vendor["RUNWAYML_BASE_URL"].get_secret_value(),
        headers={
            "authorization": f"Bearer {vendor['RUNWAYML_API_SECRET'].get_secret_value()}",
            "x-runway-version": "2024-11-06",
        },
        timeout=_TIMEOUT,
        trust_env=False,
    )


@cache
def _database() -> psycopg.Connection[Any]:
    return psycopg.connect(current().require_database(), autocommit=True)
