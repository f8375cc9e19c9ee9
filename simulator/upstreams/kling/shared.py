"""Shared by both generations of Kling's API: keys, error codes, external ids, callbacks.

Source: kling.ai/document-api (get-started: authentication, error codes, callbacks). Undocumented,
and decided here: a reused external task id is refused with 400 and code 1201; each generation has
its own ids; unknown fields are refused with 400 and code 1201.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.callbacks import CallbackPolicy
from simulator.faults import Step
from simulator.operations import Operation, Order, Phase
from simulator.upstream import Refusal, Upstream, moderated, origin_of, read_object, reply
from simulator.video import Clip
from simulator.world import World

API_KEY: Final = "kling-simulator-key"
ACCESS_KEY: Final = "kling-simulator-access"
SECRET_KEY: Final = "kling-simulator-secret-of-32-bytes"  # noqa: S105 - protects nothing
WEBHOOK_SECRET: Final = "whsec_a2xpbmctc2ltdWxhdG9yLWNhbGxiYWNr"  # noqa: S105 - the same

#: HTTP status by error code.
STATUSES: Final[Mapping[int, int]] = {
    **dict.fromkeys(range(1000, 1005), 401),
    **dict.fromkeys((1100, 1101, 1102, 1302, 1303, 1304), 429),
    1103: 403,
    **dict.fromkeys((1200, 1201, 1300, 1301), 400),
    **dict.fromkeys((1202, 1203), 404),
    5000: 500,
    5001: 503,
    5002: 504,
}
#: Error code by status, for errors such as scripted faults.
_CODES: Final[Mapping[int, int]] = {400: 1201, 401: 1000, 403: 1103, 404: 1203, 429: 1302}
_TROUBLE: Final[Mapping[int, int]] = {503: 5001, 504: 5002}

#: Width and height by resolution and ratio (runwayml 5.24.0's types of the same models).
SIZES: Final[Mapping[str, Mapping[str, tuple[int, int]]]] = {
    "720p": {"16:9": (1280, 720), "9:16": (720, 1280), "1:1": (960, 960)},
    "1080p": {"16:9": (1920, 1080), "9:16": (1080, 1920), "1:1": (1440, 1440)},
    "4k": {"16:9": (3840, 2160), "9:16": (2160, 3840), "1:1": (2880, 2880)},
}

#: A unit's list price in US dollars.
UNIT_PRICE: Final = 0.14

_BEARER = re.compile(r"Bearer (?P<token>\S{8,})")


class KlingRefusal(Refusal):
    """A refusal with the vendor's code, which determines the status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(STATUSES[code], message)
        self.code = code


class KlingPlatform(Upstream):
    """Tasks beyond a model's concurrency limit are refused with 429 and code 1303."""

    #: "Generated results will be cleared after 30 days".
    link_lifetime: ClassVar[timedelta] = timedelta(days=30)
    #: Whether tokens signed with a key pair are accepted besides API keys.
    takes_tokens: ClassVar[bool]

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._named: dict[tuple[str, str], str] = {}
        self._policy = CallbackPolicy(
            phases=frozenset(Phase) - {Phase.HELD, Phase.QUEUED, Phase.CANCELLED},
            sign=self._sign,
        )

    def authorize(self, request: web.Request) -> None:
        self.account_of(request)

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        """Called before validation: an unreadable request has no prompt."""
        try:
            if step is Step.SUBMIT:
                return prompt_in(await read_object(request))
            return await super().prompt_of(request, step)
        except Refusal:
            return ""

    def account_of(self, request: web.Request) -> str:
        """The request's account; raises Refusal with a code from 1000 to 1004."""
        sent = _BEARER.fullmatch(request.headers.get("Authorization", ""))
        if sent is None:
            raise KlingRefusal(1001, "Authorization is empty or not a bearer token")
        token = sent["token"]
        if token.count(".") != 2:  # noqa: PLR2004 - dots in a JWT
            return token
        if not self.takes_tokens:
            raise KlingRefusal(1002, "this endpoint takes an API key only")
        return _issuer(token, now=self.world.wall_clock())

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        code = refusal.code if isinstance(refusal, KlingRefusal) else _code_of(refusal.status)
        body = {"code": code, "message": refusal.message, "request_id": str(uuid.uuid4())}
        return reply(body, status=refusal.status, headers=refusal.headers)

    def start(self, request: web.Request, order: Order, *, name: str, callback: str) -> Operation:
        """Accept a task; register its external id `name` and its callback, if given."""
        self.check_cap(order.lane, KlingRefusal(1303, "parallel task over resource pack limit"))
        if name and self.named(request, name) is not None:
            raise KlingRefusal(1201, f"external_task_id {name[:64]} is used already")
        task = self.accept(request, order)
        if name:
            self._named[self.account_of(request), name] = task.id
        if callback:
            origin = origin_of(request)
            self.world.callbacks.follow(
                task, url=callback, policy=self._policy, render=lambda: self.shown(origin, task)
            )
        return task

    def named(self, request: web.Request, name: str) -> Operation | None:
        """The account's task with that external id."""
        task_id = self._named.get((self.account_of(request), name))
        return None if task_id is None else self.world.operations.find(self.name, task_id)

    def shown(self, origin: str, task: Operation) -> dict[str, object]:
        """The task as returned by polls and sent to callbacks."""
        raise NotImplementedError

    def _sign(self, body: bytes) -> dict[str, str]:
        """Standard Webhooks, as in the vendor's test vector."""
        message_id, timestamp = str(secrets.randbelow(10**10)), str(int(self.world.wall_clock()))
        key = base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
        content = f"{message_id}.{timestamp}.".encode() + body
        signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }


def answer(data: object) -> web.Response:
    """A success in the vendor's envelope."""
    body = {"code": 0, "message": "SUCCEED", "request_id": str(uuid.uuid4()), "data": data}
    return reply(body)


def prompt_in(body: Mapping[str, object]) -> str:
    """The prompt, top-level or among the contents; "" if none."""
    contents = body.get("contents")
    items = contents if isinstance(contents, list) else []
    texts = [one.get("text") for one in items if isinstance(one, dict) and "text" in one]
    return str(next(iter(texts), body.get("prompt") or ""))


def new_task_id() -> str:
    """Eighteen digits, like the vendor's."""
    return str(10**17 + secrets.randbelow(9 * 10**17))


def reason(task: Operation) -> str:
    """The failure message; "risk control" is the documented example."""
    if moderated(task):
        return "Failure to pass the content risk control system"
    return "Internal error, the task failed"


def clip_of(resolution: str, ratio: str, *, seconds: int) -> Clip:
    width, height = SIZES[resolution][ratio]
    return Clip(width, height, seconds)


def milliseconds(task: Operation) -> int:
    """The creation time, in Unix milliseconds."""
    return int(task.created_at.timestamp() * 1000)


def _code_of(status: int) -> int:
    return _CODES.get(status) or _TROUBLE.get(status, 5000)


def _issuer(token: str, *, now: float) -> str:
    """The token's account, if signed with the simulator's secret and currently valid."""
    head, claims, signature = token.split(".")
    expected = hmac.digest(SECRET_KEY.encode(), f"{head}.{claims}".encode(), hashlib.sha256)
    parts = (_decoded(head), _decoded(claims))
    if not hmac.compare_digest(_unpadded(expected), signature.encode()):
        raise KlingRefusal(1002, "the token's signature is wrong")
    if parts[0] != {"alg": "HS256", "typ": "JWT"} or parts[1].get("iss") != ACCESS_KEY:
        raise KlingRefusal(1002, "the token is not of this account")
    begins, ends = parts[1].get("nbf"), parts[1].get("exp")
    if not isinstance(begins, int) or begins > now:
        raise KlingRefusal(1003, "the token is not yet valid")
    if not isinstance(ends, int) or ends <= now:
        raise KlingRefusal(1004, "the token has expired")
    return ACCESS_KEY


def _decoded(part: str) -> dict[str, object]:
    try:
        values = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise KlingRefusal(1002, "the token can't be read")
    return values


def _unpadded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
