"""Signal handlers of workers: the log context of each task, and a graceful stop."""

import os
from typing import Any

import structlog
from celery import signals
from celery.concurrency.thread import TaskPool

from settings import current
from tasks import job_events, loop
from tasks.discreet import shown
from tasks.pump import running as lifecycle
from tasks.pump.slots import slots

log = structlog.get_logger()


@signals.celeryd_init.connect
def _keep_files_private(**_: Any) -> None:
    """Before anything is written: videos belong to this account alone."""
    os.umask(0o077)


@signals.celeryd_init.connect
def _tell_flower_of_jobs(sender: str, **_: Any) -> None:
    if current().flower_jobs:
        job_events.begin(sender)


@signals.task_prerun.connect
def _bind(task_id: str, task: Any, kwargs: dict[str, Any], **_: Any) -> None:
    structlog.contextvars.bind_contextvars(
        task=task.name, task_id=task_id, lane=shown("lane", (kwargs or {}).get("lane"))
    )


@signals.task_postrun.connect
def _unbind(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


@signals.worker_ready.connect
def _count_slots(sender: Any, **_: Any) -> None:
    """Threads share a process, so pumps must not take all of them."""
    if isinstance(sender.pool, TaskPool):
        slots.total = sender.pool.limit
    log.info("worker.ready")


@signals.worker_shutting_down.connect
def _stop_pumps(sig: str, how: str, **_: Any) -> None:
    """Stop pumps: they stop claiming, release rows not started and finish those started."""
    log.info("worker.stopping", signal=sig, how=how)
    lifecycle.stopping.set()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    loop.close()
    job_events.end()
