# Generated from longtake/_async/wire.py by client/make_sync.py; change that, and run it.
"""Sends calls to one API, again where that may help, and raises the errors of `longtake.errors`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from longtake.bodies import Body
from longtake.calls import GRACE, Call, Deadline, Patience
from longtake.errors import APIError, ConnectionFailed, ReadTimeout, error_of, translated
from longtake.seam import sleep
from longtake.streams import loaded

#: Streams of events that are open at once: half of httpx's pool, the rest is for other calls.
MOST_STREAMS = 50
#: Seconds that a call may wait for a connection of its own pool while others use them all.
_POOL = 300.0


class Wire:
    """One pool of connections to one API."""

    def __init__(self, http: httpx.Client, *, max_retries: int) -> None:
        self.http = http
        self.max_retries = max_retries
        #: Never waited for: who finds it taken polls.
        self.streams = threading.Semaphore(MOST_STREAMS)

    def patience(self) -> Patience:
        return Patience(self.max_retries)

    def json(self, call: Call) -> Any:
        """The answer's JSON; raises APIError, ConnectionFailed or UnreadableAnswer."""
        patience = self.patience()
        while True:
            try:
                with self.opened(call) as response:
                    content = _content(response, call.deadline)
                return loaded(content)
            except (APIError, ConnectionFailed) as error:
                pause = patience.pause_after(error, within=call.deadline.left)
            sleep(pause)

    @contextmanager
    def opened(self, call: Call) -> Iterator[httpx.Response]:
        """One try: an answer that is no error, whose body is read as it comes."""
        with translated():
            response = self.http.send(self._request(call), stream=True)
            try:
                if not response.is_success:
                    content = _content(response, call.deadline)
                    raise error_of(response.status_code, response.headers, content)
                yield response
            finally:
                response.close()

    def _request(self, call: Call) -> httpx.Request:
        body, headers = call.body, dict(call.headers)
        if isinstance(body, Body):
            headers["Content-Length"] = str(body.size)
        usual = self.http.timeout
        left = max(GRACE, call.deadline.left)
        timeout = httpx.Timeout(
            connect=_least(usual.connect, left),
            read=_least(call.read_timeout or usual.read, left),
            write=usual.write,
            pool=min(_POOL, left),
        )
        return self.http.build_request(
            call.method,
            call.path,
            params={name: value for name, value in call.params.items() if value is not None},
            headers=headers,
            content=body.pieces() if isinstance(body, Body) else body,
            timeout=timeout,
        )


def _content(response: httpx.Response, deadline: Deadline) -> bytes:
    """All of an answer, unless it drips until the deadline is over."""
    pieces = []
    for piece in response.iter_bytes():
        if deadline.is_over:
            raise ReadTimeout("the API's answer was not complete in time")
        pieces.append(piece)
    return b"".join(pieces)


def _least(usual: float | None, left: float) -> float:
    return left if usual is None else min(usual, left)
