"""Flower as we run it: it shows and changes nothing, to its own pages alone, without content.

Without a login every page of a browser could read it: by a CORS header that Flower sends then, or
under a name that leads to this machine (DNS rebinding). So neither is answered.
"""

import ast
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from flower import command
from flower.app import Flower
from flower.views.monitor import Metrics
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform, RequestHandler, authenticated

#: Methods that change nothing, and the page that asks for its table with another one.
_READING = {"GET", "HEAD"}
_TABLE = "/tasks/datatable"
#: The page that Flower gives to everybody, and that names tasks and workers.
_METRICS = "/metrics"
#: Arguments that may be shown: those of hints, and what our client describes a request by.
_SHOWN = frozenset(
    {
        *("lane", "within", "tenant", "job_id", "batch_id", "requests"),
        *("model", "gate", "duration_seconds", "count", "prompt"),
    }
)
#: What an event may say of a task's end: errors and results quote arguments.
_OF_THE_END = {"result", "exception", "traceback"}
_HIDDEN = "(hidden)"
#: How API processes are named in events of jobs; see `tasks.job_events`.
_API = "api@"
#: Longest description of arguments that is read, in characters.
_MOST = 2**16


class GuardedFlower(Flower):  # type: ignore[misc] # Flower ships no types
    """Flower whose every route that changes something is closed, with its options or without."""

    def __init__(self, options: Any = None, **kwargs: Any) -> None:
        if options is not None:
            options.read_only = True  # hides the buttons
        super().__init__(options=options, transforms=[OwnPagesOnly], **kwargs)
        hear = self.events.on_event

        def heard(event: Mapping[str, Any]) -> None:
            hear(masked(event))
            self.io_loop.add_callback(forget_api, self.events.state, str(event.get("hostname")))

        self.events.on_event = heard

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        if request.method not in _READING and not request.path.endswith(_TABLE):
            return self._refused(request, "Flower is read-only: nothing can be changed here")
        if not (self.options.basic_auth or self.options.auth) and not is_ours(request.host_name):
            return self._refused(
                request,
                "without a login Flower answers under localhost or an IP address only: set "
                "FLOWER_BASIC_AUTH to use another name",
            )
        if request.path.endswith(_METRICS):
            return self.get_handler_delegate(request, GuardedMetrics)
        return super().find_handler(request, **kwargs)

    def _refused(self, request: HTTPServerRequest, words: str) -> Any:
        return self.get_handler_delegate(request, Refused, {"words": words})


class GuardedMetrics(Metrics):  # type: ignore[misc] # as above
    """Flower's metrics, for those who are logged in where there is a login."""

    @authenticated
    async def get(self) -> None:
        await super().get()


class Refused(RequestHandler):
    """403 with the reason."""

    def initialize(self, words: str) -> None:
        self._words = words

    def check_xsrf_cookie(self) -> None:
        """A refusal needs no protection."""

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(self._words)


class OwnPagesOnly(OutputTransform):
    """Lets no page of another origin read a response or show it in a frame."""

    def transform_first_chunk(
        self,
        status_code: int,
        headers: HTTPHeaders,
        chunk: bytes,
        finishing: bool,  # noqa: FBT001 - Tornado's own
    ) -> tuple[int, HTTPHeaders, bytes]:
        for name in [name for name in headers if name.startswith("Access-Control-")]:
            del headers[name]
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["X-Frame-Options"] = "DENY"
        return super().transform_first_chunk(status_code, headers, chunk, finishing)


def is_ours(host: str) -> bool:
    """Whether a page under this name was served by us: no name server leads an address astray."""
    if host == "localhost":
        return True
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def forget_api(state: Any, hostname: str) -> None:
    """Take an API process, which moves jobs too, from what Flower takes for workers."""
    if hostname.startswith(_API):
        state.workers.pop(hostname, None)
        state.counter.pop(hostname, None)


def masked(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event without values of arguments and results.

    A sender may describe its message to the last word, and errors quote it.
    """
    hidden = dict(event)
    if "args" in event and event["args"] not in ("()", "[]"):  # which compares anything
        hidden["args"] = _HIDDEN
    for name in _OF_THE_END & event.keys():
        hidden[name] = _HIDDEN
    if "kwargs" in event:
        hidden["kwargs"] = _masked(event["kwargs"])
    return hidden


def _masked(description: object) -> str:
    if not isinstance(description, str) or len(description) > _MOST:
        return _HIDDEN
    try:
        given = ast.literal_eval(description)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _HIDDEN
    if not isinstance(given, dict):
        return _HIDDEN
    return repr({str(name): _value(name, value) for name, value in given.items()})


def _value(name: object, value: object) -> object:
    is_plain = isinstance(value, str | int | float | None)
    return value if is_plain and name in _SHOWN else _HIDDEN


# Flower's command makes the application of this name, and has no option for another class.
command.Flower = GuardedFlower
#: `celery -A worker flower`
flower = command.flower
