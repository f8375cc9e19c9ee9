"""What fault tests share: a stack of real processes to be killed; options of `make chaos`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.harness.receiver import Mood
from tests.faults.harness.stack import Crew, FaultStack, fault_stack

#: Gives a title and a text to the end of the run's output.
Print = Callable[[str, str], None]

_TABLES = pytest.StashKey[list[tuple[str, str]]]()
_HANDED_OVER = "fault tables"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos", "kill, drop and flush at random (make chaos)")
    group.addoption("--chaos-jobs", type=int, default=1000, help="jobs of the random run")
    group.addoption("--chaos-pace", type=float, default=4.0, help="jobs a second, at most")
    group.addoption("--chaos-seed", type=int, default=None, help="replays a run's strikes")
    group.addoption("--chaos-sieges", default="all", help="misfortunes of minutes: all, none, or …")
    group.addoption(
        "--chaos-residents", choices=("on", "off"), default="on", help="polls from memory, or not"
    )
    group.addoption("--chaos-broker", choices=("valkey", "rabbitmq"), default="valkey")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for title, text in config.stash.get(_TABLES, []):
        terminalreporter.section(title)
        terminalreporter.write_line(text)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs tests for another hands it the tables."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_HANDED_OVER] = session.config.stash.get(_TABLES, [])


def pytest_testnodedown(node: Any) -> None:
    """Takes the tables that a process hands over at its end."""
    tables = getattr(node, "workeroutput", {}).get(_HANDED_OVER, [])
    node.config.stash.setdefault(_TABLES, []).extend(map(tuple, tables))


@pytest.fixture(scope="session")
def print_at_the_end(pytestconfig: pytest.Config) -> Print:
    tables = pytestconfig.stash.setdefault(_TABLES, [])
    return lambda title, text: tables.append((title, text))


@pytest.fixture(scope="session")
def shared_house() -> Iterator[FaultStack]:
    # Short time-outs: a test waits for most of them to run out.
    quick = Crew(variables={"LONGTAKE_SUBMIT_TIMEOUT_SECONDS": "2"})
    with fault_stack(quick) as house:
        yield house


@pytest.fixture
def house(shared_house: FaultStack) -> FaultStack:
    """One worker, one beat, the API, and a far side without faults; the database is kept."""
    shared_house.simulator.calm()
    shared_house.receiver.feel(Mood.WELL)
    shared_house.start()
    shared_house.rows("DELETE FROM account_rule RETURNING name")  # blocks of an earlier vendor's
    return shared_house
