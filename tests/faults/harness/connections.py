"""Finds the processes that hold the client ends of connections to a port."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass(slots=True)
class Peers:
    """The processes at the client ends of connections to a port of 127.0.0.1.

    One scan finds all connections that wait to be accepted, because a scan takes milliseconds and
    blocks a server's loop.
    """

    port: int
    #: By client port, for connections that are not accepted yet.
    _found: dict[int, int] = field(default_factory=dict)
    #: Client ports of accepted connections.
    _accepted: set[int] = field(default_factory=set)

    def accept(self, peer: int, sessions: Sequence[int]) -> int:
        """The process in these sessions that holds this end; 0 if there is none."""
        if peer not in self._found:
            self._look(sessions)
        self._accepted.add(peer)
        return self._found.pop(peer, 0)

    def close(self, peer: int) -> None:
        """Forget a port, which another process may use from now on."""
        self._accepted.discard(peer)

    def _look(self, sessions: Sequence[int]) -> None:
        peers = {link: peer for link, peer in _ends(self.port) if peer not in self._accepted}
        self._found.clear()
        # A pool's children inherit the parent's sockets, so the youngest process is the user.
        for pid in sorted(psutil.pids()):
            for link in _links(pid, sessions):
                if link in peers:
                    self._found[peers[link]] = pid


def _ends(port: int) -> Iterator[tuple[str, int]]:
    """The sockets connected to this port, named as in /proc links, with their own ports."""
    wanted = b" 0100007F:%04X 01 " % port
    for line in Path("/proc/net/tcp").read_bytes().splitlines():
        if wanted in line:
            words = line.decode().split()
            yield f"socket:[{words[9]}]", int(words[1].partition(":")[2], 16)


def _links(pid: int, sessions: Sequence[int]) -> Iterator[str]:
    """The open files of a process; none if it is gone or belongs to another session."""
    try:
        if os.getsid(pid) in sessions:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # it has been closed
                    yield str(descriptor.readlink())
    except OSError:
        return
