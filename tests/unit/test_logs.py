"""One line of JSON for each event, ours and libraries', that costs the work nothing but time."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from logs import configure

LIBRARY = "a.library.of.this.test"
CHATTY = ("httpx", "httpcore", "kombu", "aiohttp", "uvicorn", "psycopg.pool")
CELERY = ("celery.app.trace", "celery.worker.strategy", "celery.pool")


@pytest.fixture
def output() -> Iterator[io.TextIOWrapper]:
    """Where lines go; all that logging changed is put back."""
    root, before = logging.getLogger(), structlog.get_config()
    made, levels = (
        logging.getLoggerClass(),
        {n: logging.getLogger(n).level for n in CHATTY + CELERY},
    )
    handlers, level = list(root.handlers), root.level
    yield io.TextIOWrapper(io.BytesIO())
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    logging.setLoggerClass(made)
    root.handlers = handlers
    root.setLevel(level)
    for name, one in levels.items():
        logging.getLogger(name).setLevel(one)


def lines(output: io.TextIOWrapper) -> list[dict[str, Any]]:
    buffer = output.buffer
    assert isinstance(buffer, io.BytesIO)
    return [json.loads(line) for line in buffer.getvalue().splitlines()]


def test_our_line_and_a_librarys_have_one_shape(output: io.TextIOWrapper) -> None:
    configure("INFO", output)
    structlog.contextvars.bind_contextvars(request_id="req_1")

    structlog.get_logger().info("http.request", status=202)
    logging.getLogger(LIBRARY).warning("lost %s of %d", "one", 3)

    ours, theirs = lines(output)
    assert ours.pop("timestamp").endswith("Z")
    assert theirs.pop("timestamp").endswith("Z")
    assert ours == {
        "event": "http.request",
        "status": 202,
        "level": "info",
        "logger": __name__,
        "request_id": "req_1",
    }
    assert theirs == {
        "event": "lost one of 3",
        "level": "warning",
        "logger": LIBRARY,
        "request_id": "req_1",
    }


def test_what_is_below_the_level_or_duplicates_our_lines_is_left_out(
    output: io.TextIOWrapper,
) -> None:
    configure("INFO", output)

    structlog.get_logger().debug("quiet")
    logging.getLogger(LIBRARY).debug("quiet")
    for name in CHATTY + CELERY:
        logging.getLogger(name).info("chatty")
    logging.getLogger("psycopg.pool").warning("heard")

    assert [line["event"] for line in lines(output)] == ["heard"]


def test_an_error_is_told_without_local_variables(output: io.TextIOWrapper) -> None:
    configure("INFO", output)
    ours, theirs = structlog.get_logger(), logging.getLogger(LIBRARY)

    def fail(prompt: str) -> None:
        _ = 1 / len(prompt[:0])

    for log in (ours, theirs):
        try:
            fail("private " * 2)
        except ZeroDivisionError:
            log.exception("request.failed")

    first, second = lines(output)
    assert first["exception"] == second["exception"]
    assert first["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert first["exception"][0]["frames"][-1]["name"] == "fail"
    assert "private private" not in str(lines(output))


def test_a_field_that_a_value_hides_stays_hidden(output: io.TextIOWrapper) -> None:
    @dataclass
    class Account:
        name: str
        key: str = field(repr=False)

    configure("INFO", output)

    structlog.get_logger().info("account", account=Account("acme", "private"))

    assert "acme" in lines(output)[0]["account"]
    assert "private" not in str(lines(output))


@pytest.mark.parametrize(
    "value",
    [2**70, "\ud800", {1: "a"}, [2**64 * 3], {"deep": "\udfff"}, float("nan"), b"\xff", object()],
    ids=["integer", "surrogate", "key", "list", "nested", "nan", "bytes", "object"],
)
def test_a_value_that_json_can_not_hold_is_a_line_all_the_same(
    output: io.TextIOWrapper, value: Any
) -> None:
    configure("INFO", output)

    structlog.get_logger().info("odd", value=value)
    logging.getLogger(LIBRARY).warning("odd %s", value)

    ours, theirs = lines(output)
    assert ours["event"] == "odd"
    assert theirs["event"].startswith("odd ")


def test_a_closed_or_full_output_costs_the_line_and_not_the_work(
    output: io.TextIOWrapper, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    full, closed = io.TextIOWrapper(Full()), io.TextIOWrapper(io.BytesIO())
    for broken in (full, closed):
        configure("INFO", broken)
        log, library = structlog.get_logger(), logging.getLogger(LIBRARY)
        closed.close()
        log.info("sent")
        library.warning("lost")

    assert "Traceback" not in capsys.readouterr().err
