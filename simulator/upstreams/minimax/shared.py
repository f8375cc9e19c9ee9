"""Shared by both generations of MiniMax's API: key, task ids, callbacks, coded refusals.

Source: platform.minimax.io/docs/api-reference and github.com/MiniMax-AI/cli. Undocumented, and
decided here: callbacks are not retried.
"""

import base64
import re
import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.callbacks import CallbackPolicy
from simulator.checks import is_text
from simulator.operations import Operation, Order, Phase
from simulator.upstream import Refusal, Upstream, origin_of

API_KEY: Final = "minimax-simulator-key"
#: Frames per second; undocumented.
FPS: Final = 24

#: Error codes: platform.minimax.io/docs/api-reference/errorcode.
RATE, WRONG_KEY, SENSITIVE_INPUT, SENSITIVE_OUTPUT, WRONG = 1002, 2049, 1026, 1027, 2013
UNKNOWN: Final = 1000

CALLBACK_POLICY: Final = CallbackPolicy(
    phases=frozenset((Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED))
)
#: Timeout of a callback challenge, in seconds.
CHALLENGE_BOUND: Final = 3.0

_BEARER = re.compile(r"Bearer \S{8,}")
_LARGEST_PICTURE: Final = 20 * 2**20


class MinimaxRefusal(Refusal):
    """A refusal with the vendor's code."""

    def __init__(self, code: int, message: str, *, status: int) -> None:
        super().__init__(status, message)
        self.code = code


class MinimaxPlatform(Upstream):
    """Tasks beyond a model's cap are refused with the rate-limit code."""

    #: "The URL is valid for 1 hour"; elsewhere 9.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=1)

    def environment(self, origin: str) -> dict[str, str]:
        """Both generations share a host."""
        return {
            "MINIMAX_BASE_URL": f"{origin}/minimax",
            "MINIMAX_API_KEY": API_KEY,
        }

    def authorize(self, request: web.Request) -> None:
        if not _BEARER.fullmatch(request.headers.get("Authorization", "")):
            raise MinimaxRefusal(WRONG_KEY, "invalid api key", status=401)

    @abstractmethod
    def callback_body(self, origin: str, task: Operation) -> object:
        """The body of a callback about a task."""

    async def start(self, request: web.Request, order: Order) -> Operation:
        """Accept a valid submission, once its callback URL has echoed a challenge.

        Raises:
            Refusal: the challenge failed, or the model's cap is reached.
        """
        address = str(order.body.get("callback_url") or "")
        challenge = {"challenge": secrets.token_hex(16)}
        if address and not await self.world.callbacks.echoes(
            address, challenge, within=CHALLENGE_BOUND
        ):
            raise MinimaxRefusal(WRONG, "invalid params, fail to check callback url", status=400)
        self.check_cap(order.lane, MinimaxRefusal(RATE, "rate limit", status=429))
        task = self.accept(request, order)
        if address:
            origin = origin_of(request)
            self.world.callbacks.follow(
                task,
                url=address,
                policy=CALLBACK_POLICY,
                render=lambda: self.callback_body(origin, task),
            )
        return task


def new_task_id() -> str:
    """Digits, as in the documented examples."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)


def field_errors(
    body: Mapping[str, object], checks: Mapping[str, Callable[[object], bool]]
) -> Iterator[str]:
    """Errors for invalid or unknown fields, named as in the documented "invalid params"."""
    checks = {**checks, "callback_url": is_text}
    for name, value in body.items():
        if name not in checks:
            yield f"{name} is not known"
        elif value is not None and not checks[name](value):
            yield f"{name} is invalid"


def is_image(value: object) -> bool:
    """A URL, or base64 of less than 20 MB in a data URI."""
    if not isinstance(value, str):
        return False
    if value.startswith(("https://", "http://")):
        return True
    head, comma, content = value.partition(",")
    if not comma or not re.fullmatch(r"data:image/[a-z]+;base64", head):
        return False
    try:
        return 0 < len(base64.b64decode(content, validate=True)) < _LARGEST_PICTURE
    except ValueError:  # binascii.Error, and text that is not ASCII
        return False
