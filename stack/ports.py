"""Ports on loopback: a clash is told in words, 0 is a free one."""

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
    """The port of each process that listens, free at this moment and all different.

    Raises:
        StackError: another program has one; the message names the variable to change.
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
    """Held until all are chosen, so that no two get the same free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = held.enter_context(socket.socket(family))
    # As the servers bind: what only lingers from an earlier stack is no clash.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
        probe.listen(1)  # two that are only bound may share a port
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise StackError(
            f"port {port} ({variable}) "
            f"{'is in use by another program' if in_use else f'is refused: {error.strerror}'}; "
            "set it to another port, or 0 to choose a free one"
        ) from error
    return int(probe.getsockname()[1])
