"""`video.enqueue`: turns a message into a job or a dead letter, or requeues it.

A message is acknowledged only after its job or its dead letter is committed. The job's id is
derived from the message, so a message that is delivered or sent twice creates one job.
"""

import asyncio
import hashlib
import json
import random
import re
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog
from celery.exceptions import Reject

from models.database import DatabaseAway
from models.failure import RequestRefused
from models.intake_failures import record_intake_failure
from models.request import VideoRequest
from models.verbs import What
from tasks import hints
from tasks.discreet import MOST_KEPT, RAW, UNREADABLE, is_name
from tasks.engine import Engine
from tasks.intake import accept
from tasks.loop import runtime
from tasks.pump.running import stopping
from tasks.repeats import Accepted

log = structlog.get_logger()

#: Timeout of PostgreSQL, in seconds, after which the message is requeued.
BOUND = 15.0
#: Shortest and longest delay before a message is requeued, in seconds.
WAIT = (1.0, 5.0)
#: Unfinished deliveries, if the broker counts them, after which a message becomes a dead letter.
MOST_DEATHS = 10
#: Maximum length of a reason, in characters.
MOST_CHARACTERS = 1000

#: The task's parameters, positional or by keyword.
_PARAMETERS = ("request", "job_id", "tenant")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
#: Errors that end once PostgreSQL is available, or is a primary, again.
_UNAVAILABLE = (
    DatabaseAway,
    TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.InternalError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message as received; its content is not validated."""

    task_id: str
    args: Sequence[Any] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)
    #: Deliveries that were never finished; 0 if the broker does not count them.
    deaths: int = 0

    @property
    def named(self) -> dict[str, Any]:
        """The arguments by name."""
        return {**dict(zip(_PARAMETERS, self.args, strict=False)), **self.kwargs}

    @property
    def tenant(self) -> str | None:
        """The message's tenant; None if the value is invalid."""
        tenant: object = self.named.get("tenant")
        if tenant is None:
            return "default"
        return tenant if isinstance(tenant, str) and is_name(tenant) else None

    @property
    def job_id(self) -> str:
        """The sender's job id, or one derived from the task id, so a repeat is the same job."""
        given: object = self.named.get("job_id")
        return given if isinstance(given, str) and is_name(given) else job_id_of(self.task_id)


def job_id_of(task_id: str) -> str:
    """The job id of a message without one: `job_vid_` and 32 hexadecimal digits.

    The digits are those of the task id if it is a UUID, else the start of its SHA-256.
    """
    if _UUID.fullmatch(task_id):
        return f"job_vid_{task_id.replace('-', '')}"
    return f"job_vid_{hashlib.sha256(_bytes_of(task_id)).hexdigest()[:32]}"


def enqueue(letter: Letter) -> str:
    """Process a message; returns the job's id, or why there is none.

    Raises:
        Reject: nothing was committed, so the broker delivers the message again.
    """
    future: Future[Accepted | None] | None = None
    try:
        ours = runtime()
        future = ours.start(take_in(ours.engine, letter))
        accepted = future.result(timeout=2 * BOUND)
    except Exception as error:  # noqa: BLE001 - after any error, the message must not be lost
        if future is not None:
            future.cancel()
        log.warning("intake.put_off", task_id=letter.task_id, error=type(error).__name__)
        stopping.wait(random.uniform(*WAIT))
        raise Reject("the message could not be recorded", requeue=True) from None
    if accepted is None:
        return "kept as a dead letter"
    if not accepted.is_repeat:
        hints.send(What.SUBMIT, accepted.lane)
    return accepted.job_id


async def take_in(engine: Engine, letter: Letter) -> Accepted | None:
    """Commit a message's job, or its dead letter (then None). Idempotent.

    Raises:
        DatabaseAway, TimeoutError, psycopg.Error: a commit of either is not known.
    """
    async with asyncio.timeout(BOUND):
        try:
            request = _read(letter)
            return await accept(engine, request, tenant=letter.tenant or "", job_id=letter.job_id)
        except RequestRefused as refusal:
            await _store_dead_letter(engine, letter, refusal)
        except _UNAVAILABLE:
            raise
        except Exception as error:  # noqa: BLE001 - our own bug must not lose the request
            # Log neither the error's message nor its traceback: both may quote the request.
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename}:{where.lineno}"
            log.error("intake.broke", task_id=letter.task_id, error=type(error).__name__, at=place)  # noqa: TRY400
            await _store_dead_letter(engine, letter, _internal_error(type(error).__name__))
    return None


def _read(letter: Letter) -> VideoRequest:
    """The request. Raises RequestRefused with messages that quote no value."""
    if letter.deaths >= MOST_DEATHS:
        raise _internal_error(f"its workers ended {letter.deaths} times")
    if UNREADABLE in letter.kwargs:
        reason = f"the message can't be read: {letter.kwargs[UNREADABLE]}"
        raise RequestRefused(reason, code="unreadable_message")
    given = letter.named
    if len(letter.args) > len(_PARAMETERS) or len(given) < len(letter.args) + len(letter.kwargs):
        raise RequestRefused(f"video.enqueue takes {', '.join(_PARAMETERS)}, each at most once")
    for name in given.keys() - set(_PARAMETERS):
        known = ", ".join(_PARAMETERS)
        raise RequestRefused(
            f"{name} is not a known argument of video.enqueue; known: {known}", param=name
        )
    for name in ("job_id", "tenant"):
        if given.get(name) is not None and not is_name(given[name]):
            raise RequestRefused(
                f"{name} must be text of 1 to 64 letters, digits and . _ : -, starting with a "
                "letter or a digit",
                param=name,
            )
    if "request" not in given:
        raise RequestRefused("request is required", param="request")
    return VideoRequest.from_json(given["request"], tells_values=False)


def _internal_error(what: str) -> RequestRefused:
    return RequestRefused(f"Longtake could not handle the message ({what})", code="internal_error")


async def _store_dead_letter(engine: Engine, letter: Letter, refusal: RequestRefused) -> None:
    """Store the message as a dead letter."""
    content = _payload(letter)
    # After our own bug the payload is kept at any size, so that it can be sent again.
    is_kept = len(content) <= MOST_KEPT or refusal.code == "internal_error"
    payload = engine.vault.seal(content) if is_kept else None
    task_id = letter.task_id if is_name(letter.task_id) else job_id_of(letter.task_id)
    is_new = await engine.database.run(
        lambda connection: record_intake_failure(
            connection,
            task_id=task_id,
            tenant=letter.tenant,
            job_id=letter.job_id,
            code=refusal.code,
            message=_stored_reason(refusal),
            param=refusal.param if is_name(refusal.param) else None,
            payload=payload,
        )
    )
    if is_new:
        log.warning("intake.refused", task_id=task_id, tenant=letter.tenant, code=refusal.code)


def _stored_reason(refusal: RequestRefused) -> str:
    """The reason in a form that a row can store, without an unsafe field name."""
    words = refusal.message
    if refusal.param and not is_name(refusal.param):
        words = words.replace(refusal.param, "a field", 1)
    return words.encode(errors="replace").decode().replace("\x00", "")[:MOST_CHARACTERS]


def _payload(letter: Letter) -> bytes:
    if UNREADABLE in letter.kwargs:
        return json.dumps({"raw": letter.kwargs.get(RAW)}).encode()
    return json.dumps({"args": letter.args, "kwargs": letter.kwargs}, default=str).encode()


def _bytes_of(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
