"""Ports are told in words when they clash, and chosen when they are 0."""

import socket

import pytest

from settings import Settings
from stack.errors import StackError
from stack.ports import choose


def free() -> Settings:
    return Settings(api_port=0, flower_port=0, sim_port=0)


def test_zero_is_a_free_port_and_each_is_another() -> None:
    ports = choose(free(), simulate=True)

    assert len({ports.api, ports.flower, ports.simulator}) == 3


def test_a_stack_without_simulator_needs_no_port_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = free().model_copy(update={"sim_port": other.getsockname()[1]})

        assert choose(taken, simulate=False).simulator == 0


@pytest.mark.parametrize(
    ("field", "variable"),
    [
        ("api_port", "LONGTAKE_API_PORT"),
        ("flower_port", "LONGTAKE_FLOWER_PORT"),
        ("sim_port", "LONGTAKE_SIM_PORT"),
    ],
)
def test_a_taken_port_is_named_with_its_variable(field: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StackError) as told:
            choose(free().model_copy(update={field: port}), simulate=True)

    assert str(told.value) == (
        f"port {port} ({variable}) is in use by another program; "
        "set it to another port, or 0 to choose a free one"
    )
