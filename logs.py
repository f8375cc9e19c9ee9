"""Logging: one JSON object per line, with the context bound to the current task.

Our own events bypass the standard library's logging, which costs several times as much.
Libraries' records go through it, to the same renderer and the same output.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

#: Loggers whose INFO records duplicate our events.
_CHATTY: Final = (
    *("httpx", "httpcore", "kombu", "aiohttp", "uvicorn"),
    "psycopg.pool",  # three lines for every transaction
    # At DEBUG the pool logs every task's arguments, prompts and secrets included.
    *("celery.app.trace", "celery.worker.strategy", "celery.pool"),
    "flower.command",  # at DEBUG the key of its cookies
)


def configure(level: str, output: TextIO | None = None) -> None:
    """Write our logs and all libraries' from `level` up to `output` (default: standard error)."""
    output = output or sys.stderr
    shared: tuple[Processor, ...] = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    )
    # Local variables are omitted: they contain keys and prompts.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    structlog.configure(
        processors=[*shared, tracebacks, structlog.processors.JSONRenderer(serializer=_to_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_factory(output),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(_Lines(output, "root"))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                tracebacks,
                structlog.processors.JSONRenderer(serializer=_to_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Lines:
    """Writes whole lines. A full disk or a closed pipe loses the line, but never raises."""

    def __init__(self, output: TextIO, name: str) -> None:
        self.name = name
        self._write = output.buffer.write
        self._flush = output.buffer.flush

    def msg(self, line: bytes) -> None:
        try:
            self._write(line + b"\n")  # one call, so that threads' lines do not mix
            self._flush()
        except (OSError, ValueError):  # ValueError: the output is closed
            pass

    debug = info = warning = error = critical = exception = msg


class _Handler(logging.Handler):
    """Writes libraries' records to our output."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.msg(self.format(record).encode())
        except Exception:  # noqa: BLE001 - logging must not fail the caller
            self.handleError(record)


def _factory(output: TextIO) -> Callable[..., _Lines]:
    """Loggers named after the module that first uses them, as in the standard library."""
    named = structlog.stdlib.LoggerFactory(ignore_frame_names=[__name__])
    return lambda *args: _Lines(output, named(*args).name)


def _add_name(logger: WrappedLogger, _: str, event: EventDict) -> EventDict:
    record: logging.LogRecord | None = event.get("_record")
    event["logger"] = logger.name if record is None else record.name
    return event


def _to_json(event: dict[str, Any], **_: Any) -> bytes:
    """The line. Dataclasses use their `repr`, which omits secret fields."""
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:  # integers above 64 bits, unpaired surrogates, keys that are not text, cycles
        return orjson.dumps({name: _plain(value) for name, value in event.items()})


def _to_text(event: dict[str, Any], **_: Any) -> str:
    return _to_json(event).decode()  # a formatter must return text


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text.encode("ascii", "backslashreplace").decode()
