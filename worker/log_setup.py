"""The handler by which each of Celery's processes logs as all of ours do."""

from typing import Any

from celery import signals

from logs import configure
from settings import current


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure(current().log_level)
