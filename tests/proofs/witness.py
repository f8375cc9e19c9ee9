"""A pytest plugin that writes down how each test ended, and by what kind of error at which line.

It is copied into trees that know nothing of it, and so imports nothing of ours.
"""

import json
import os
import signal
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import pytest

#: Where it writes (JSON lines), which node ids it lets run (JSON list), seconds for each test.
REPORT, WANTED, SECONDS = "PROOFS_REPORT", "PROOFS_WANTED", "PROOFS_SECONDS"
#: The longest text of an error that is kept, in characters.
LONGEST = 300


class TookTooLong(Exception):
    """A test was cut off."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A node id without parameters means all of its cases."""
    wanted = set(json.loads(os.environ[WANTED]))
    kept = [item for item in items if {item.nodeid, item.nodeid.partition("[")[0]} & wanted]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write({"node": report.nodeid, "when": "collect", "text": _short(_last(report.longrepr))})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """SIGALRM ends a test, its fixtures included, that takes too long."""

    def cut_off(_signal: int, _frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, float(os.environ[SECONDS]))
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fact: dict[str, object] = {"node": item.nodeid, "when": report.when, "outcome": report.outcome}
    if report.failed and call.excinfo is not None:
        fact |= _error(item, call.excinfo)
    _write(fact)
    return report


def _error(item: pytest.Item, caught: pytest.ExceptionInfo[BaseException]) -> dict[str, object]:
    """The error's type and words, and where in the tree it was raised."""
    kind, frames = type(caught.value), list(caught.traceback)
    if issubclass(kind, pytest.fail.Exception):
        # Raised in pytest's own code, by `pytest.fail` or `pytest.raises`: who called it counts.
        frames = [frame for frame in frames if "_pytest" not in Path(frame.path).parts]
    last = frames[-1]
    root = item.config.rootpath
    path = Path(last.path)
    return {
        "error": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "text": _short(str(caught.value) or kind.__name__),
        "file": str(path.relative_to(root)) if path.is_relative_to(root) else str(path),
        "line": last.lineno + 1,
    }


def _last(longrepr: object) -> str:
    """The last thing that a failed collection says, which names the error."""
    lines = [line for line in str(longrepr).splitlines() if line.strip()]
    told = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (told or lines or ["it says nothing"])[-1]


def _short(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:LONGEST] if lines else ""


def _write(fact: dict[str, object]) -> None:
    with Path(os.environ[REPORT]).open("a") as report:
        report.write(json.dumps(fact) + "\n")
