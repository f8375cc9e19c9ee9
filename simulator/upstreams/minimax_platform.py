"""What both generations of MiniMax's API share: the key, task ids, callbacks, refusals with a code.

Source: platform.minimax.io/docs/api-reference and github.com/MiniMax-AI/cli. Not documented, and
decided here: whether and how often an unanswered callback is tried again (it is not).
"""

import base64
import re
import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.callbacks import Habit
from simulator.operations import Operation, Order, Phase
from simulator.upstream import Refusal, Upstream, origin_of

API_KEY: Final = "minimax-simulator-key"
#: Frames a second; the vendor names none.
FPS: Final = 24

#: Codes by what they say: platform.minimax.io/docs/api-reference/errorcode.
RATE, WRONG_KEY, SENSITIVE_INPUT, SENSITIVE_OUTPUT, WRONG = 1002, 2049, 1026, 1027, 2013
UNKNOWN: Final = 1000

HABIT: Final = Habit(phases=frozenset((Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED)))
#: How long a callback address may take to echo its challenge, in seconds.
CHALLENGE_BOUND: Final = 3.0

_BEARER = re.compile(r"Bearer \S{8,}")
_LARGEST_PICTURE: Final = 20 * 2**20


class MinimaxRefusal(Refusal):
    """A refusal with the vendor's own code."""

    def __init__(self, code: int, message: str, *, status: int) -> None:
        super().__init__(status, message)
        self.code = code


class MinimaxPlatform(Upstream):
    """Tasks beyond a model's limit are refused as too many requests."""

    #: "The URL is valid for 1 hour"; other readings say 9.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=1)

    def environment(self, origin: str) -> dict[str, str]:
        """The host is the same for both generations."""
        return {
            "MINIMAX_BASE_URL": f"{origin}/minimax",
            "MINIMAX_API_KEY": API_KEY,
        }

    def authorize(self, request: web.Request) -> None:
        if not _BEARER.fullmatch(request.headers.get("Authorization", "")):
            raise MinimaxRefusal(WRONG_KEY, "invalid api key", status=401)

    @abstractmethod
    def told(self, origin: str, task: Operation) -> object:
        """What a callback says of a task."""

    async def start(self, request: web.Request, order: Order) -> Operation:
        """Accept a submission that is in order, once its callback address has echoed a challenge.

        Raises:
            Refusal: the address did not, or the model has too many unfinished tasks.
        """
        address = str(order.body.get("callback_url") or "")
        challenge = {"challenge": secrets.token_hex(16)}
        if address and not await self.world.callbacks.echoes(
            address, challenge, within=CHALLENGE_BOUND
        ):
            raise MinimaxRefusal(WRONG, "invalid params, fail to check callback url", status=400)
        self._check_cap(order)
        task = self.accept(request, order)
        if address:
            origin = origin_of(request)
            self.world.callbacks.follow(
                task, url=address, habit=HABIT, render=lambda: self.told(origin, task)
            )
        return task

    def _check_cap(self, order: Order) -> None:
        """Raises Refusal where the model has as many unfinished tasks as the account may."""
        cap = self.world.options.cap
        if cap is not None and self.world.operations.occupied(self.name, order.lane) >= cap:
            raise MinimaxRefusal(RATE, "rate limit", status=429)


def new_task_id() -> str:
    """Digits, as the documents' examples have them."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)


def complaints_about(
    body: Mapping[str, object], checks: Mapping[str, Callable[[object], bool]]
) -> Iterator[str]:
    """The members that are wrong or unknown, as the documents' "invalid params" names them."""
    checks = {**checks, "callback_url": is_text}
    for name, value in body.items():
        if name not in checks:
            yield f"{name} is not known"
        elif value is not None and not checks[name](value):
            yield f"{name} is invalid"


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_flag(value: object) -> bool:
    return isinstance(value, bool)


def is_picture(value: object) -> bool:
    """An address, or base64 of less than 20 MB in a data URI."""
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
