"""How processes log: one JSON object a line, with what is bound to the work at hand."""

import logging
import sys

import structlog
from structlog.typing import Processor

from settings import Settings

#: Without local variables: they hold keys and prompts.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)

#: Loggers whose INFO lines tell what our own lines tell better.
_CHATTY = (
    *("httpx", "httpcore", "kombu", "aiohttp"),
    # At DEBUG the pool tells every argument of every task, prompts and secrets included.
    *("celery.app.trace", "celery.worker.strategy", "celery.pool"),
)


def configure(settings: Settings) -> None:
    """Send our lines and everybody else's through one JSON renderer to standard error."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _tracebacks,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
