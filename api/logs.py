"""Logging of the API's process: one JSON object a line, to standard output."""

import logging
import sys
from typing import Any

import orjson
import structlog


def configure(level: str) -> None:
    """Set up structlog, and let the libraries' own warnings through to standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Not with local variables: they hold keys and prompts.
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


def _to_json(event: dict[str, Any], **_: Any) -> bytes:
    return orjson.dumps(event, default=repr)
