"""The connections of one API process: how many there are, and how long each may keep us waiting.

Uvicorn closes a connection that stays idle after a response, and nothing else: one that never sends
a request, or sends it a byte at a time, or never reads its response, stays for ever. Here each
of these has an end, checked once a second, and when the places run out the oldest connection
without a request in progress is closed; if all are busy, one that has shown no valid key.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from api.addresses import Networks, address_of, is_within
from api.admission import was_proved
from api.limits import Limits

log = structlog.get_logger()

#: Seconds between two checks of all connections.
CHECKS_EVERY: Final = 1.0
#: Seconds to send the rest of a body after its response: a client that still sends then would see a
#: reset instead of the response.
LINGERS: Final = 5.0
#: Seconds without a byte taken until a client that does not read is dropped.
TAKES_WITHIN: Final = 60.0
#: The same for a client without a valid key: its responses are small.
STRANGER_TAKES_WITHIN: Final = 10.0
#: Busy connections without a valid key that an address must have before one of them is closed.
_MANY: Final = 2
#: Seconds between two lines of the log that tell how many were dropped.
_TELLS_EVERY: Final = 60.0

_TOO_SLOW: Final = json.dumps(
    {
        "error": {
            "type": "invalid_request",
            "code": "request_timeout",
            "message": "the request arrived too slowly; send it again on a new connection",
            "param": None,
            "request_id": None,
        }
    }
).encode()
_TIMEOUT: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_TOO_SLOW), _TOO_SLOW)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a request may take to arrive."""

    #: Seconds for a request's line and headers, from the connection's or their first byte on.
    header_seconds: float
    #: Seconds for a body, and the bytes of it that add another second.
    body_seconds: float
    body_rate: int


class Connections:
    """The connections of one process, and which of them have no request in progress."""

    def __init__(
        self,
        limits: Limits,
        patience: Patience,
        *,
        proxies: Networks = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`proxies` are trusted: their connections are many clients', so they have no share."""
        self.patience = patience
        self.clock = clock
        self._limits = limits
        self._proxies = proxies
        self._all: set[Connection] = set()
        #: Without a request so far, and between two requests; the oldest first.
        self._new: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        #: By address, the connections without a valid key.
        self._unknown: dict[str, dict[Connection, None]] = {}
        self._dropped = 0
        self._told_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def has_place(self, *, busy: bool = True) -> bool:
        """Whether one more may come; another one goes for it, as `make_place` says."""
        return len(self._all) < self._limits.connections or self.make_place(busy=busy)

    def make_place(self, *, busy: bool = True) -> bool:
        """Drop the oldest connection without a request in progress; False if there is none.

        Where all are busy, and `busy` ones may go, it is the oldest one without a valid key, of the
        address that has the most of these.
        """
        oldest = next(iter(self._new), None) or next(iter(self._idle), None)
        if oldest is None and busy:
            oldest = self._stranger()
        if oldest is None:
            return False
        self._drop(oldest)
        return True

    def enter(self, connection: "Connection", host: str) -> None:
        """Count a connection in."""
        address = address_of(host)
        if not is_within(address, self._proxies):
            connection.budget = address.budget
            self._unknown.setdefault(address.budget, {})[connection] = None
        self._all.add(connection)
        self._new[connection] = None

    def _stranger(self) -> "Connection | None":
        """The oldest connection of the address with the most connections without a valid key."""
        while self._unknown:
            budget = max(self._unknown, key=lambda each: len(self._unknown[each]))
            own = self._unknown[budget]
            if len(own) < _MANY:
                return None
            known = [each for each in own if each.is_known]
            if not known:
                return next(iter(own))
            for each in known:
                del own[each]
            if not own:
                del self._unknown[budget]
        return None

    def leave(self, connection: "Connection") -> None:
        """Forget a connection; one that is not here is left out."""
        self._all.discard(connection)
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        own = self._unknown.get(connection.budget or "")
        if own is not None:
            own.pop(connection, None)
            if not own:
                del self._unknown[connection.budget or ""]

    def begin(self, connection: "Connection") -> None:
        """A request of it is in progress."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def end(self, connection: "Connection") -> None:
        """Its request has been answered."""
        if connection in self._all:
            self._idle[connection] = None

    def _drop(self, connection: "Connection") -> None:
        self._dropped += 1
        self.leave(connection)
        connection.hang_up()

    def check(self) -> None:
        """Drop those that take too long."""
        now = self.clock()
        for connection in [each for each in self._all if each.is_late(now)]:
            self._dropped += 1
            connection.hang_up_politely()
        if self._dropped and now - self._told_at >= _TELLS_EVERY:
            log.warning("connections.dropped", count=self._dropped, open=len(self._all))
            self._told_at, self._dropped = now, 0

    def start(self) -> None:
        """Check from now on; needs a running loop."""
        self._timer = asyncio.get_running_loop().call_later(CHECKS_EVERY, self._checked)

    def _checked(self) -> None:
        self.start()
        self.check()

    def stop(self) -> None:
        """Check no more: the process ends."""
        if self._timer is not None:
            self._timer.cancel()


class Connection(H11Protocol):
    """One connection: Uvicorn's, which knows since when it waits for its client."""

    #: What its address counts by; None behind a proxy.
    budget: str | None = None

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections
        self._patience = connections.patience
        #: When it is late, unless a request is in progress.
        self._until = connections.clock() + self._patience.header_seconds
        self._is_dropped = False
        #: Whether bytes of the next request's head have come.
        self._has_begun = False
        #: Bytes received, and of them those before the body in progress, which began then.
        self._received = 0
        self._body_from = 0
        self._body_since = 0.0
        #: Bytes that the client has not taken, and since when they are as many.
        self._unsent = 0
        self._unsent_since = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    @property
    def is_known(self) -> bool:
        """Whether its last request was authenticated, by a valid key, link or token."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and was_proved(cycle.scope)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._is_dropped:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if not (self._has_begun or self.is_busy or self.conn.their_state is h11.SEND_BODY):
            self._has_begun = True
            self._until = self._connections.clock() + self._patience.header_seconds
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._begin()

    def on_response_complete(self) -> None:
        before = self.cycle
        super().on_response_complete()
        if self.cycle is not before:  # the next one had arrived already
            self._begin()
            return
        patience: float = self.timeout_keep_alive
        self._has_begun = bool(self.conn.trailing_data[0])
        if self.conn.their_state is h11.SEND_BODY:
            patience = LINGERS
        elif self._has_begun:
            patience = self._patience.header_seconds
        self._until = self._connections.clock() + patience
        self._connections.end(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)
        super().connection_lost(exc)

    def _begin(self) -> None:
        """A request's head is complete."""
        self._has_begun = False
        self._body_from, self._body_since = self._received, self._connections.clock()
        self._connections.begin(self)

    def is_late(self, now: float) -> bool:
        """Whether its client has kept us waiting for too long."""
        transport: asyncio.Transport | None = self.transport
        if transport is None:  # accepted a moment ago
            return False
        unsent = transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif unsent and now - self._unsent_since > self._takes_within:
            return True
        if not self.is_busy:
            return not unsent and now > self._until
        if self.conn.their_state is not h11.SEND_BODY:
            return False
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._body_since += CHECKS_EVERY  # we keep the client waiting
            return False
        allowed = (self._received - self._body_from) / self._patience.body_rate
        return now - self._body_since > self._patience.body_seconds + allowed

    @property
    def _takes_within(self) -> float:
        is_stranger = self.budget is not None and not self.is_known
        return STRANGER_TAKES_WITHIN if is_stranger else TAKES_WITHIN

    def hang_up_politely(self) -> None:
        """Close it, with a 408 if part of a request has come and nothing of its response went."""
        if self.transport.is_closing() or self._unsent:
            self.hang_up()
            return
        is_answerable = not self.cycle.response_started if self.is_busy else self._has_begun
        if is_answerable:
            self.transport.write(_TIMEOUT)
        self.transport.close()

    def hang_up(self) -> None:
        """Close it at once, or, if it was accepted a moment ago, as soon as it is there."""
        self._is_dropped = True
        transport: asyncio.Transport | None = self.transport
        if transport is not None:
            transport.abort()
