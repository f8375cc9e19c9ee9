"""Letters: messages with requests. Each becomes a job or a batch, or is kept as a dead letter.

What a letter makes has an id that its sender chose or that derives from the message, so a letter
that is delivered, sent or retried again makes nothing twice.
"""

import asyncio
import hashlib
import json
import re
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

import psycopg
import structlog

from models.database import Connection, DatabaseAway
from models.failure import RequestRefused, not_found
from models.intake_failures import (
    Given,
    KeptFailure,
    ListedFailure,
    Reason,
    list_intake_failures,
    read_intake_failure,
    record_intake_failure,
    refuse_again,
)
from models.request import VideoRequest
from models.sealing import NotOpened, open_sealed
from models.vault import Vault, VaultError
from models.verbs import Hint, What
from tasks.batches.checking import InvalidLines
from tasks.batches.intake import accept_batch
from tasks.batches.lines import Listed
from tasks.engine import Engine
from tasks.forms import ENQUEUE, ENQUEUE_BATCH, FORMS, MOST_KEPT, RAW, UNREADABLE, Form, is_name
from tasks.intake import accept

log = structlog.get_logger()

#: Timeout of PostgreSQL, in seconds, after which a message is requeued.
BOUND = 15.0
#: Unfinished deliveries, if the broker counts them, after which a message becomes a dead letter.
MOST_DEATHS = 10
#: Maximum length of a reason, in characters.
MOST_CHARACTERS = 1000
#: Requests in one message of `video.enqueue_batch`.
MOST_REQUESTS = 1000
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

    form: Form = ENQUEUE
    task_id: str
    args: Sequence[Any] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)
    #: Deliveries that were never finished; 0 if the broker does not count them.
    deaths: int = 0
    #: The id that a dead letter has since it was first received.
    kept_id: str | None = None

    @property
    def named(self) -> dict[str, Any]:
        """The arguments by name."""
        return {**dict(zip(self.form.parameters, self.args, strict=False)), **self.kwargs}

    @property
    def tenant(self) -> str | None:
        """The message's tenant; None if the value is invalid, or the message unreadable."""
        if UNREADABLE in self.kwargs:
            return None
        tenant: object = self.named.get("tenant")
        if tenant is None:
            return "default"
        return tenant if isinstance(tenant, str) and is_name(tenant) else None

    @property
    def makes(self) -> str | None:
        """The id of its job or batch: its sender's, or of a job one derived from the task id.

        None for a batch without a valid id, which is refused.
        """
        given: object = self.named.get(self.form.id)
        if isinstance(given, str) and is_name(given):
            return given
        if self.form is ENQUEUE_BATCH:
            return None
        return self.kept_id or job_id_of(self.task_id)

    @classmethod
    def reopened(cls, failure: KeptFailure, payload: Mapping[str, Any]) -> Self:
        """The letter of a dead one, whose payload is that of a readable message."""
        return cls(
            form=FORMS[failure.task],
            task_id=failure.task_id,
            args=payload["args"],
            kwargs=payload["kwargs"],
            kept_id=failure.job,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The durable job or batch of a letter, and hints to send."""

    id: str
    form: Form
    #: Whether it was there already.
    is_repeat: bool = False
    hints: tuple[Hint, ...] = ()


def job_id_of(task_id: str) -> str:
    """The job id of a message without one: `job_vid_` and 32 hexadecimal digits.

    The digits are those of the task id if it is a UUID, else the start of its SHA-256.
    """
    if _UUID.fullmatch(task_id):
        return f"job_vid_{task_id.replace('-', '')}"
    digest = hashlib.sha256(task_id.encode(errors="surrogatepass")).hexdigest()
    return f"job_vid_{digest[:32]}"


async def take_in(engine: Engine, letter: Letter) -> Made | None:
    """Commit what a letter makes, or a dead letter (then None). Idempotent.

    Raises:
        DatabaseAway, TimeoutError, psycopg.Error: a commit of either is not known.
    """
    async with asyncio.timeout(BOUND):
        try:
            return await _accepted(engine, letter)
        except RequestRefused as refusal:
            await _store_dead_letter(engine, letter, refusal)
    return None


async def retry(engine: Engine, failure_id: str, *, tenant: str | None) -> Made:
    """Take a dead letter in once more; None as `tenant` is an operator, who may retry any.

    Once its job or batch is there the dead letter is gone, in the same transaction; otherwise it
    stays, with today's reason. Twice is harmless: the id is the letter's.

    Raises:
        RequestRefused: `not_found`, also of another tenant's; `payload_not_kept`;
            `payload_not_readable` without its key; or the reason why it is refused again.
        DatabaseAway, TimeoutError, psycopg.Error: as `take_in`.
    """
    if not is_name(failure_id):
        raise not_found("Dead letter")
    async with asyncio.timeout(BOUND):
        failure = await engine.database.run(
            lambda connection: read_intake_failure(connection, failure_id, tenant=tenant)
        )
        if failure is None:
            raise not_found("Dead letter")
        if failure.payload is None:
            raise RequestRefused(
                f"the message was too large to be kept (more than {MOST_KEPT} bytes), so it can't "
                "be retried: send it again",
                type="conflict",
                code="payload_not_kept",
            )
        try:
            payload = engine.vault.open_json(failure.payload)
        except VaultError as error:
            msg = f"the dead letter {failure_id} can't be opened: {error}"
            raise RequestRefused(msg, type="conflict", code="payload_not_readable") from None
        if "raw" in payload:
            raise RequestRefused(failure.message, code="unreadable_message")
        letter = Letter.reopened(failure, payload)
        try:
            return await _accepted(engine, letter)
        except RequestRefused as refusal:
            reason = _reason(refusal)
            await engine.database.run(
                lambda connection: refuse_again(connection, failure_id, reason)
            )
            raise


async def list_dead(
    engine: Engine, *, tenant: str | None, limit: int, after: str | None = None
) -> list[ListedFailure]:
    """Up to `limit` of the tenant's dead letters, or for None of all, newest first."""
    return await engine.database.run(
        lambda connection: list_intake_failures(connection, tenant=tenant, most=limit, after=after)
    )


async def _accepted(engine: Engine, letter: Letter) -> Made:
    """Commit the letter's job or batch.

    Raises:
        RequestRefused: it can't be accepted, or we have a bug; no message quotes a value.
    """
    try:
        if "sealed" in letter.named:
            letter = await asyncio.to_thread(opened, engine.vault, letter)
        _check(letter)
        if letter.form is ENQUEUE_BATCH:
            return await _accept_batch(engine, letter)
        request = VideoRequest.from_json(letter.named["request"], tells_values=False)
        accepted = await accept(engine, request, tenant=letter.tenant or "", job_id=letter.makes)
        return Made(
            id=accepted.job_id,
            form=letter.form,
            is_repeat=accepted.is_repeat,
            hints=() if accepted.is_repeat else ((What.SUBMIT, accepted.lane),),
        )
    except (RequestRefused, *_UNAVAILABLE):
        raise
    except Exception as error:  # noqa: BLE001 - our own bug must not lose the request
        # Log neither the error's message nor its traceback: both may quote the request.
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename}:{where.lineno}"
        log.error("intake.broke", task_id=letter.task_id, error=type(error).__name__, at=place)  # noqa: TRY400
        raise _internal_error(type(error).__name__) from None


def opened(vault: Vault, letter: Letter) -> Letter:
    """The letter with what `sealed` holds in its place.

    Raises:
        RequestRefused: it can't be opened.
    """
    _check_names(letter)
    given = letter.named
    text = given.pop("sealed")
    if beside := sorted(letter.form.sealed & given.keys()):
        raise RequestRefused(f"{beside[0]} must not be given beside sealed", param=beside[0])
    try:
        content = open_sealed(
            vault,
            text if isinstance(text, str) else "",
            task=letter.form.task,
            id_=str(given.get(letter.form.id) or ""),
            tenant=str(given.get("tenant") or "default"),
        )
    except NotOpened as error:
        msg = f"sealed can't be opened: {error}"
        raise RequestRefused(msg, code="sealed_not_readable", param="sealed") from None
    if not isinstance(content, dict) or not content.keys() <= letter.form.sealed:
        known = " and ".join(sorted(letter.form.sealed))
        raise RequestRefused(f"sealed must hold {known} alone", param="sealed")
    return replace(letter, args=(), kwargs={**given, **content})


async def _accept_batch(engine: Engine, letter: Letter) -> Made:
    requests, options = letter.named["requests"], letter.named.get("options")
    if not isinstance(requests, list) or not 1 <= len(requests) <= MOST_REQUESTS:
        given = f"it has {len(requests)}" if isinstance(requests, list) else "it is no list"
        msg = f"requests must be a list of 1 to {MOST_REQUESTS} requests ({given})"
        raise RequestRefused(msg, param="requests")
    if not isinstance(options, dict | None):
        raise RequestRefused("options must be an object", param="options")
    accepted = await accept_batch(
        engine,
        Listed(requests=requests, options=options or {}),
        tenant=letter.tenant or "",
        batch_id=letter.makes,
        tells_values=False,
    )
    return Made(
        id=accepted.batch_id,
        form=letter.form,
        is_repeat=accepted.is_repeat,
        hints=tuple((What.SUBMIT, lane) for lane in accepted.lanes),
    )


def _check(letter: Letter) -> None:
    """Refuse what is wrong with a letter whatever its requests are; quotes no value."""
    form, given = letter.form, letter.named
    if letter.deaths >= MOST_DEATHS:
        raise _internal_error(f"its workers ended {letter.deaths} times")
    if UNREADABLE in letter.kwargs:
        reason = f"the message can't be read: {letter.kwargs[UNREADABLE]}"
        raise RequestRefused(reason, code="unreadable_message")
    known = ", ".join(form.parameters)
    if len(letter.args) > len(form.parameters) or len(given) < len(letter.args) + len(
        letter.kwargs
    ):
        raise RequestRefused(f"{form.task} takes {known}, each at most once")
    for name in given.keys() - set(form.parameters):
        raise RequestRefused(
            f"{name} is not a known argument of {form.task}; known: {known}", param=name
        )
    _check_names(letter)
    required = (form.parameters[0], *((form.id,) if form is ENQUEUE_BATCH else ()))
    for name in required:
        if given.get(name) is None:
            raise RequestRefused(f"{name} is required", param=name)


def _check_names(letter: Letter) -> None:
    given = letter.named
    for name in (letter.form.id, "tenant"):
        if given.get(name) is not None and not is_name(given[name]):
            raise RequestRefused(
                f"{name} must be text of 1 to 64 letters, digits and . _ : -, starting with a "
                "letter or a digit",
                param=name,
            )


def _internal_error(what: str) -> RequestRefused:
    msg = f"Longtake could not handle the message ({what})"
    return RequestRefused(msg, type="internal_error")


async def _store_dead_letter(engine: Engine, letter: Letter, refusal: RequestRefused) -> None:
    content = _payload(letter)
    kept = await asyncio.to_thread(payload_at_rest, engine.vault, letter)
    is_batch = letter.form is ENQUEUE_BATCH
    # A batch's message was small enough, however its characters are written here. After our own
    # bug the payload is kept at any size, so that it can be retried.
    is_kept = is_batch or len(content) <= MOST_KEPT or refusal.code == "internal_error"
    task_id = letter.task_id if is_name(letter.task_id) else job_id_of(letter.task_id)
    given = Given(
        task=letter.form.task,
        task_id=task_id,
        tenant=letter.tenant,
        job=None if is_batch else letter.makes,
        batch=letter.makes if is_batch else None,
        payload=engine.vault.seal(kept) if is_kept else None,
    )

    async def work(connection: Connection) -> bool:
        return await record_intake_failure(connection, given, _reason(refusal))

    if await engine.database.run(work):
        log.warning("intake.refused", task_id=task_id, tenant=letter.tenant, code=refusal.code)


def payload_at_rest(vault: Vault, letter: Letter) -> bytes:
    """What is kept of a letter: opened, if it can be, so that it rotates with all that we seal."""
    if "sealed" in letter.named:
        with suppress(Exception):  # it is kept anyhow
            letter = opened(vault, letter)
    return _payload(letter)


def _reason(refusal: RequestRefused) -> Reason:
    """The reason in a form that a row can store, without an unsafe field name.

    Of a batch's invalid lines, field and line are those of the first.
    """
    words, param, line = refusal.message, refusal.param, None
    if isinstance(refusal, InvalidLines):
        param, line = refusal.errors[0]["param"], refusal.errors[0]["line"]
    if param and not is_name(param):
        words = words.replace(param, "a field", 1)
    return Reason(
        code=refusal.code,
        message=words.encode(errors="replace").decode().replace("\x00", "")[:MOST_CHARACTERS],
        param=param if is_name(param) else None,
        line=line,
    )


def _payload(letter: Letter) -> bytes:
    if UNREADABLE in letter.kwargs:
        return json.dumps({"raw": letter.kwargs.get(RAW)}).encode()
    return json.dumps({"args": letter.args, "kwargs": letter.kwargs}, default=str).encode()
