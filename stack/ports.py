"""Ports of the stack's processes: checked for conflicts; 0 chooses a free one."""

import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from settings import Settings
from stack.errors import StackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    api: int
    flower: int
    simulator: int


def choose(settings: Settings, *, simulate: bool) -> Ports:
    """A distinct free port for each listening process.

    Raises:
        StackError: a port is in use; the message names the variable to change.
    """
    with ExitStack() as held:
        return Ports(
            api=_port(held, settings.api_host, settings.api_port, "LONGTAKE_API_PORT"),
            flower=_port(held, "127.0.0.1", settings.flower_port, "LONGTAKE_FLOWER_PORT"),
            simulator=(
                _port(held, "127.0.0.1", settings.sim_port, "LONGTAKE_SIM_PORT") if simulate else 0
            ),
        )


def _port(held: ExitStack, host: str, port: int, variable: str) -> int:
    """A free port, held until all are chosen, so that no two get the same one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = held.enter_context(socket.socket(family))
    # As the servers do: a socket of an earlier stack in TIME_WAIT is no conflict.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
        probe.listen(1)  # with SO_REUSEADDR, bound sockets that do not listen may share a port
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        problem = "is in use by another program" if in_use else f"can't be used: {error.strerror}"
        raise StackError(
            f"port {port} ({variable}) {problem}; set it to another port, or 0 to choose a free one"
        ) from error
    return int(probe.getsockname()[1])
