"""How many connections one API process may have, by the files that it may open."""

import resource
from dataclasses import dataclass
from typing import Final

from settings import Settings

#: Files of a process that are no connections: the database's, the broker's, libraries and logs.
_RESERVED: Final = 64
#: Of the others, the part that connections may take: the rest is for videos that are read, bodies
#: that are spooled, and connections that are about to be closed.
_PART: Final = 0.75
#: Places that only health and metrics may take, and those who are told to come again.
_SPARE: Final = 16
#: Connections unless the settings name a number: each may take 20 kB of memory, and containers are
#: often allowed a million files.
_USUALLY_AT_MOST: Final = 6_000
#: What a process asks for if its limit can be raised.
_WANTED_FILES: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The budgets of one process."""

    #: Open connections.
    connections: int
    #: Requests in progress, beside those for health and metrics.
    requests: int
    #: Requests in progress of one address without a valid key.
    of_address: int
    #: Open streams and open calls; of them those of one tenant.
    streams: int
    streams_of_tenant: int


def limits_of(settings: Settings, *, files: int | None = None) -> Limits:
    """The budgets by the settings; `files` is how many this process may open."""
    if files is None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = max(2 * _SPARE, int((files - _RESERVED) * _PART))
    connections = min(settings.max_connections or _USUALLY_AT_MOST, most)
    streams = max(2, min(2 * settings.streams_per_tenant, connections // 2))
    return Limits(
        connections=connections,
        requests=max(1, connections - _SPARE),
        of_address=min(settings.requests_per_address or connections, connections // 2),
        streams=streams,
        streams_of_tenant=min(settings.streams_per_tenant, streams // 2),
    )


def raise_file_limit() -> None:
    """Let this process open more files than the usual 1,024, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
